"""What every classical method says of itself."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from abair_pl.degradations import Plan

Pixels = NDArray[np.float32]
"""``(H, W, 3)`` RGB in [0, 1]."""


@dataclass(frozen=True)
class Classical:
    """A classical method.

    Attributes:
        degradations: What it is for; it is measured on tasks of these alone.
        summary: What it does, where it was published and its settings, in one line.
        package: The distribution that does the work.
        restore: Takes the degraded image, and the plan by which it was degraded, or None where nobody knows it. Returns
            the same shape; values outside [0, 1] are clamped by the caller.
        told: What of the true degradation it reads off the plan, such as ``the standard deviation of the noise``; empty
            for a blind method, which leaves the plan alone.
        untold: What it takes instead where there is no plan; empty where it cannot do without.
    """

    degradations: tuple[str, ...]
    summary: str
    package: str
    restore: Callable[[Pixels, Plan | None], Pixels]
    told: str = ""
    untold: str = ""

    @property
    def installed(self) -> str | None:
        """The version of its package; None where that is not installed."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None

    @property
    def knowledge(self) -> str:
        """What it knows of the true degradation, in words."""
        if not self.told:
            return "it is told nothing of the degradation"
        return f"it is told {self.told}" + (f", or where nobody knows it takes {self.untold}" if self.untold else "")
