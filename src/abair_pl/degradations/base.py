"""What every degradation has in common: parameters are drawn first, then applied."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from kornia.augmentation import IntensityAugmentationBase2D
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.random import SEED_LIMIT, unit_draws
from abair_pl.errors import InputError

Range = tuple[float, float]
"""Lowest and highest value of a parameter, in its own unit: what severity 0 and severity 1 stand for."""

Parameters = dict[str, Tensor]
"""One value for each sample, ``(B,)``; ``seed`` is int64, all others are float32."""

Draws = Mapping[str, NDArray[np.float32]]
"""Independent uniform numbers in [0, 1), ``(B,)`` each."""

Stage = Literal["scene", "optics", "sensor", "codec"]
"""Where on its way from the scene to the file an image is damaged; the order of :data:`STAGES`."""

STAGES: tuple[Stage, ...] = ("scene", "optics", "sensor", "codec")

FULL_DIAL: Range = (0.0, 1.0)


def limited(name: str, bounds: Range, least: float, most: float) -> Range:
    """The range of an argument, checked.

    Raises:
        InputError: One of its ends is not within [least, most].
    """
    if not all(least <= bound <= most for bound in bounds):
        message = f"{name} is ({bounds[0]}, {bounds[1]}); expected both ends within [{least:g}, {most:g}]"
        raise InputError(message)
    return bounds


def within(bounds: Range, position: NDArray[np.float32]) -> NDArray[np.float32]:
    """The value at a position in [0, 1] between the two ends of a range."""
    low, high = bounds
    return np.float32(low) + np.float32(high - low) * position


def between(bounds: Range, position: NDArray[np.float32]) -> NDArray[np.float32]:
    """As :func:`within`, in equal ratios instead of equal steps; both ends are positive."""
    low, high = bounds
    return np.float32(low) * np.float32(high / low) ** position


def per_image(values: Tensor) -> Tensor:
    """``(B,)`` to ``(B, 1, 1, 1)``, to be combined with ``(B, C, H, W)``."""
    return values.view(-1, 1, 1, 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on one thread: where several divide a tensor shows in the last bit of some functions."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Step:
    """One operator, the samples it is applied to, and with what parameters.

    Attributes:
        operator: The operator.
        rows: ``(N,)`` the samples by their index.
        parameters: Of these samples, in this order.
    """

    operator: "Degradation"
    rows: NDArray[np.int64]
    parameters: Parameters


class Degradation(IntensityAugmentationBase2D):
    """Base class of all operators, an ordinary Kornia augmentation with ``p=1``.

    A subclass names itself, lists its ``draws``, turns them into physical parameters in :meth:`physical`
    and applies those, and nothing else, in :meth:`degrade`. Calling it on an image draws seeds from torch's global
    generator; ``operator(image, params=parameters)`` replays a draw, bit for bit on the same device.

    Args:
        severity: The range that each sample's severity is drawn from, within [0, 1].

    Attributes:
        name: The word for this degradation in configurations, logs and bundles.
        kind: Which kind of it this is where there are several, such as ``defocus`` of ``blur``.
        stage: Where in the making of an image it happens, which orders composites.
        draws: Names of the independent uniform numbers that a sample needs besides its severity.
        uses_depth: Whether ``degrade`` reads ``parameters["depth"]``, ``(B, 1, H, W)`` in [0, 1] with 1 farthest and
            NaN where a sample has none; the synthesizer puts it there if the shards have depth.
        one_by_one: Whether a CPU degrades one sample after the other, on one thread. Its vectorised functions and
            Fourier transforms round by the size of the batch and the number of threads, which a sample's pixels must
            not depend on; an operator of sums, products and roots alone is as exact, and faster, in batches.

    Raises:
        InputError: The severity leaves [0, 1].
    """

    name: ClassVar[str]
    kind: ClassVar[str] = ""
    stage: ClassVar[Stage] = "sensor"
    draws: ClassVar[tuple[str, ...]] = ()
    uses_depth: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = True

    def __init__(self, severity: Range = (0.0, 1.0)) -> None:
        super().__init__(p=1.0)
        low, high = severity
        if not 0.0 <= low <= high <= 1.0:
            message = f"severity of {self.name} is ({low}, {high}); expected 0 <= low <= high <= 1"
            raise InputError(message)
        self.severity = severity

    @abstractmethod
    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        """Physical parameters of each sample.

        Args:
            severity: ``(B,)`` in [0, 1].
            draws: One ``(B,)`` array for each name in :attr:`draws`.

        Returns:
            One ``(B,)`` array for each parameter.
        """

    @abstractmethod
    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        """Apply given parameters.

        Args:
            image: ``(B, 3, H, W)`` float32 RGB in [0, 1].
            parameters: As :meth:`draw` returns them, on the image's device.

        Returns:
            ``(B, 3, H, W)``; values outside [0, 1] are clamped by the caller.
        """

    def draw(self, seeds: NDArray[np.int64], dial: Range = FULL_DIAL) -> Parameters:
        """Draw parameters, each sample's from its own seed.

        Args:
            seeds: ``(B,)``, each in [0, 2**53).
            dial: The part of the operator's range of severities to draw from, (0, 1) for all of it.

        Returns:
            Parameters on the CPU, among them ``seed`` and ``severity``.
        """
        names = ("severity", *self.draws)
        unit = unit_draws(seeds, [f"{self.name}/{name}" for name in names])
        columns = dict(zip(names, unit.T, strict=True))
        severity = within(self.severity, within(dial, columns.pop("severity")))
        values = {"severity": severity, **self.physical(severity, columns)}
        parameters = {
            name: torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32)) for name, value in values.items()
        }
        return {"seed": torch.from_numpy(seeds.copy()), **parameters}

    def steps(self, seeds: NDArray[np.int64], dial: Range = FULL_DIAL) -> list[Step]:
        """What is done to samples of these seeds: one step, this operator on all of them."""
        return [Step(self, np.arange(len(seeds)), self.draw(seeds, dial))]

    @property
    def operators(self) -> list["Degradation"]:
        """The operators that :meth:`steps` may use: this one."""
        return [self]

    def apply(self, image: Tensor, parameters: Parameters) -> Tensor:
        """Apply parameters, in float32 whatever the surrounding autocast says.

        Args:
            image: ``(B, 3, H, W)`` RGB in [0, 1].
            parameters: As :meth:`draw` returns them, on the image's device.

        Returns:
            ``(B, 3, H, W)`` in [0, 1].
        """
        everything = torch.arange(len(image), device=image.device)
        degraded = torch.empty_like(image, dtype=torch.float32)
        self.apply_to_rows(image.float(), everything, parameters, degraded, everything)
        return degraded

    def apply_to_rows(
        self, source: Tensor, taken: Tensor, parameters: Parameters, target: Tensor, given: Tensor
    ) -> None:
        """Apply parameters to some images of one batch, and write the results over some of another.

        Args:
            source: ``(B, 3, H, W)`` float32 RGB in [0, 1].
            taken: ``(N,)`` int64, which of them.
            parameters: Of these, on their device.
            target: ``(R, 3, H, W)`` float32; may be ``source``.
            given: ``(N,)`` int64, where the results go.
        """
        with torch.autocast(source.device.type, enabled=False):
            if source.device.type == "cpu" and self.one_by_one:
                columns = {name: value.split(1) for name, value in parameters.items()}
                with one_thread():
                    for index, (here, there) in enumerate(zip(taken.tolist(), given.tolist(), strict=True)):
                        one = {name: column[index] for name, column in columns.items()}
                        degraded = self.degrade(source[here : here + 1], one)
                        torch.clamp(degraded, 0.0, 1.0, out=target[there : there + 1])
            else:
                degraded = self.degrade(source.index_select(0, taken), parameters).clamp_(0.0, 1.0)
                target.index_copy_(0, given, degraded)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Parameters:
        """Kornia's hook: draw parameters for a batch of this shape."""
        return self.draw(torch.randint(SEED_LIMIT, (batch_shape[0],)).numpy())

    def apply_transform(
        self,
        input: Tensor,  # noqa: A002 - Kornia's name
        params: dict[str, Any],
        flags: dict[str, Any],
        transform: Tensor | None = None,
    ) -> Tensor:
        """Kornia's hook: :meth:`apply`.

        Kornia adds entries of its own to ``params``; those that are not one value for each sample are left out.
        """
        tensors = {name: value for name, value in params.items() if isinstance(value, Tensor)}
        here = {name: value.to(input.device) for name, value in tensors.items() if value.shape[:1] == input.shape[:1]}
        return self.apply(input, here)
