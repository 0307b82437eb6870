"""Degradations made of others: one of several kinds, or several one after the other."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import FULL_DIAL, STAGES, Degradation, Range, Step
from abair_pl.degradations.random import SEED_LIMIT, child_seeds, unit_draws
from abair_pl.errors import InputError


class Combination(ABC):
    """A degradation that leaves the work to others; used like an operator.

    Attributes:
        name: The word for it in configurations, logs and results.
    """

    name: str

    @property
    @abstractmethod
    def operators(self) -> list[Degradation]:
        """The operators that :meth:`steps` may use."""

    @abstractmethod
    def steps(self, seeds: NDArray[np.int64], dial: Range = FULL_DIAL) -> list[Step]:
        """What is done to samples of these seeds, in the order in which it is done.

        Args:
            seeds: ``(B,)``, each in [0, 2**53).
            dial: The part of each operator's range of severities to draw from.
        """

    def __call__(self, image: Tensor) -> Tensor:
        """Degrade images, with seeds from torch's global generator.

        Args:
            image: ``(B, 3, H, W)`` RGB in [0, 1].
        """
        degraded = image.float().clone()
        for step in self.steps(torch.randint(SEED_LIMIT, (len(image),)).numpy()):
            here = {name: value.to(image.device) for name, value in step.parameters.items()}
            rows = torch.from_numpy(step.rows).to(image.device)
            degraded[rows] = step.operator.apply(degraded[rows], here)
        return degraded


AnyDegradation = Degradation | Combination


class OneOf(Combination):
    """Each sample gets one of several kinds of the same degradation.

    Args:
        kinds: Operators of the same ``name``.
        weights: How often each is chosen, in proportion; equally often if left out.

    Raises:
        InputError: There is no kind, their names differ, or weights do not fit.
    """

    def __init__(self, kinds: Sequence[Degradation], weights: Sequence[float] | None = None) -> None:
        names = {kind.name for kind in kinds}
        if len(names) != 1:
            message = f"kinds of one degradation are named {sorted(names)}; expected one or more of the same name"
            raise InputError(message)
        share = np.ones(len(kinds)) if weights is None else np.asarray(weights, dtype=np.float64)
        if len(share) != len(kinds) or not (share >= 0).all() or share.sum() <= 0:
            message = f"weights are {weights} for {len(kinds)} kinds; expected one each, none negative, not all 0"
            raise InputError(message)
        if len({kind.kind for kind in kinds}) < len(kinds):
            message = f"kinds of {names.pop()} are {[kind.kind for kind in kinds]}; expected each to have its own"
            raise InputError(message)
        self.name = names.pop()
        self.kinds = list(kinds)
        self.limits = np.cumsum(share / share.sum())[:-1]

    @property
    def operators(self) -> list[Degradation]:
        return self.kinds

    def steps(self, seeds: NDArray[np.int64], dial: Range = FULL_DIAL) -> list[Step]:
        chosen = np.searchsorted(self.limits, unit_draws(seeds, [f"{self.name}/kind"])[:, 0], side="right")
        found: list[Step] = []
        for index, kind in enumerate(self.kinds):
            rows = np.flatnonzero(chosen == index)
            if len(rows):
                found += [replace(step, rows=rows[step.rows]) for step in kind.steps(seeds[rows], dial)]
        return found


class Composite(Combination):
    """Several degradations one after the other, such as the paper's blur&noise, blur&jpeg and haze&snow (Table 5).

    Args:
        members: The degradations, at least two, of different names.
        physical_order: Order them as light meets them: scene, optics, sensor, codec; those of one stage stay as given.
            Otherwise all stay as given.

    Raises:
        InputError: There are fewer than two members, or two of one name.
    """

    def __init__(self, members: Sequence[AnyDegradation], physical_order: bool = True) -> None:
        names = [member.name for member in members]
        if len(names) < 2 or len(set(names)) < len(names):
            message = f"a composite has members {names}; expected two or more, each named once"
            raise InputError(message)
        by_stage = sorted(members, key=lambda member: STAGES.index(member.operators[0].stage))
        self.members = by_stage if physical_order else list(members)
        self.name = ("+" if physical_order else ">").join(member.name for member in self.members)

    @property
    def operators(self) -> list[Degradation]:
        return [operator for member in self.members for operator in member.operators]

    def steps(self, seeds: NDArray[np.int64], dial: Range = FULL_DIAL) -> list[Step]:
        return [
            step
            for member in self.members
            for step in member.steps(child_seeds(seeds, f"composite/{member.name}"), dial)
        ]
