from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import skimage.data
import torch

from abair_pl.degradations import Plan
from abair_pl.evaluation.classical.base import Pixels
from abair_pl.evaluation.pairs import side_by_side


@dataclass(frozen=True)
class Damaged:
    """A part of a photograph, what was made of it, and how."""

    clean: Pixels
    degraded: Pixels
    plan: Plan

    def gain(self, restored: Pixels) -> float:
        """By how many dB a result is nearer to the clean image than the degraded one."""
        before, after = (((each - self.clean) ** 2).mean() for each in (self.degraded, restored.clip(0.0, 1.0)))
        return float(10.0 * np.log10(before / after))


@pytest.fixture(scope="session")
def damage() -> Callable[..., Damaged]:
    """Degrades a part of scikit-image's astronaut, in the grammar."""

    def make(degradation: str, side_px: int = 96, seed: int = 0) -> Damaged:
        clean = torch.from_numpy(skimage.data.astronaut()[20 : 20 + side_px, 170 : 170 + side_px].copy())
        clean = clean.permute(2, 0, 1)[None].float() / 255.0
        (synthesizer,) = side_by_side(degradation)
        plan = synthesizer.plan(torch.tensor([seed]), synthesizer.sources[-1])
        degraded = synthesizer(clean, plan).degraded
        return Damaged(pixels(clean), pixels(degraded), plan)

    def pixels(image: torch.Tensor) -> Pixels:
        return np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())

    return make
