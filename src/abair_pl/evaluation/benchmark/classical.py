"""A classical method as a row of a suite."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from abair_pl import __version__
from abair_pl.degradations import Plan
from abair_pl.errors import InputError
from abair_pl.evaluation.classical.base import Classical
from abair_pl.evaluation.suite import Method
from abair_pl.result import Result


@dataclass(frozen=True)
class ClassicalMethod:
    """A row whose images no network restores.

    Attributes:
        method: What was asked for.
        classical: What restores them.
        parameters: There is no model.
    """

    method: Method
    classical: Classical
    parameters: ClassVar[int | None] = None

    @property
    def key(self) -> str:
        """A digest of all that shapes its results."""
        classical = self.classical
        parts = (self.method.classical, classical.summary, classical.package, classical.installed, __version__)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def is_for(self, oracle: str) -> bool:
        """Whether it is meant for a task of this degradation; empty where there is no single one."""
        return oracle in self.classical.degradations

    def check(self, oracle: str, made: str) -> None:
        """Raise where it cannot restore a task that it is meant for.

        Args:
            oracle: The degradation of the task.
            made: The degradation that was made here; empty for real pairs as they are.

        Raises:
            InputError: It has to be told what nobody knows of these images.
        """
        if self.classical.told and not self.classical.untold and made != oracle:
            message = f"it has to be told {self.classical.told}, and nobody knows it of these images"
            raise InputError(message)

    def restore(self, degraded: Tensor, oracle: str, plan: Plan | None) -> tuple[Result, bool | None]:
        """The restored image; there are no weights, and no estimator was asked.

        Args:
            degraded: ``(3, H, W)`` in [0, 1].
            oracle: The degradation of the task.
            plan: By which the image was degraded; taken for unknown where more than ``oracle`` was done to it.
        """
        pixels = np.ascontiguousarray(degraded.permute(1, 2, 0).numpy(), dtype=np.float32)
        known = plan if plan is not None and plan.sources[-1] == oracle else None
        with _as_many_threads_as_torch():
            restored = self.classical.restore(pixels, known)
        clipped = np.ascontiguousarray(restored.clip(0.0, 1.0).transpose(2, 0, 1), dtype=np.float32)
        return Result(torch.from_numpy(clipped), {}, None), None

    @property
    def source(self) -> str:
        """Which method it is."""
        return f"classical {self.method.classical}"

    @property
    def facts(self) -> str:
        """What it does, what it is told, and who does the work, in one line."""
        classical = self.classical
        return f"{classical.summary}; {classical.knowledge}; {classical.package} {classical.installed}"

    @property
    def run(self) -> str:
        """What else shapes results, in one line."""
        return f"abair-pl {__version__}"


@contextmanager
def _as_many_threads_as_torch() -> Iterator[None]:
    """Let OpenCV use as many threads as the networks that it is compared with."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(torch.get_num_threads())
    try:
        yield
    finally:
        cv2.setNumThreads(before)
