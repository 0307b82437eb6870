"""What every degradation has in common: parameters are drawn first, then applied."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

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


def within(bounds: Range, position: NDArray[np.float32]) -> NDArray[np.float32]:
    """The value at a position in [0, 1] between the two ends of a range."""
    low, high = bounds
    return np.float32(low) + np.float32(high - low) * position


def per_image(values: Tensor) -> Tensor:
    """``(B,)`` to ``(B, 1, 1, 1)``, to be combined with ``(B, C, H, W)``."""
    return values.view(-1, 1, 1, 1)


class Degradation(IntensityAugmentationBase2D):
    """Base class of all degradations, an ordinary Kornia augmentation with ``p=1``.

    A subclass names itself, lists its ``draws``, turns them into physical parameters in :meth:`physical`
    and applies those in :meth:`degrade`. Calling it on an image draws seeds from torch's global generator;
    ``operator(image, params=parameters)`` replays a draw, bit for bit on the same device.

    Args:
        severity: The range that each sample's severity is drawn from, within [0, 1].

    Attributes:
        name: The word for this degradation in configurations, logs and bundles.
        draws: Names of the independent uniform numbers that a sample needs besides its severity.

    Raises:
        InputError: The severity leaves [0, 1].
    """

    name: ClassVar[str]
    draws: ClassVar[tuple[str, ...]] = ()

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

    def draw(self, seeds: NDArray[np.int64]) -> Parameters:
        """Draw parameters, each sample's from its own seed.

        Args:
            seeds: ``(B,)``, each in [0, 2**53).

        Returns:
            Parameters on the CPU, among them ``seed`` and ``severity``.
        """
        names = ("severity", *self.draws)
        unit = unit_draws(seeds, [f"{self.name}/{name}" for name in names])
        columns = dict(zip(names, unit.T, strict=True))
        severity = within(self.severity, columns.pop("severity"))
        values = {"severity": severity, **self.physical(severity, columns)}
        parameters = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}
        return {"seed": torch.from_numpy(seeds.copy()), **parameters}

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
        """Kornia's hook: apply parameters, in float32 whatever the surrounding autocast says.

        Kornia's containers add entries of their own to ``params``, of which some are no tensors and are left out.
        """
        with torch.autocast(input.device.type, enabled=False):
            here = {name: value.to(input.device) for name, value in params.items() if isinstance(value, Tensor)}
            return self.degrade(input.float(), here).clamp(0.0, 1.0)


def choose(draw: NDArray[np.float32], options: Sequence[float]) -> NDArray[np.float32]:
    """Pick one of several values with equal probability from uniform numbers in [0, 1)."""
    table = np.asarray(options, dtype=np.float32)
    return table[(draw * len(table)).astype(np.int64)]
