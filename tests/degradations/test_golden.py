"""What each operator made of a picture at fixed seeds; a change here breaks the replay of recorded degradations."""

import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import BUILT_IN, Degradation

OPERATORS = [operator for kinds in BUILT_IN.values() for operator in kinds]
SEEDS = np.array([11, 2**40 + 5], dtype=np.int64)
PIXELS = [(0, 0, 5, 7), (0, 2, 33, 50), (1, 1, 20, 41), (1, 0, 47, 63)]

# The mean of the 8-bit result, then the values at PIXELS. Failing tests show the new values.
GOLDEN: dict[str, list[float]] = {
    "RandomRainStreaks": [135.71, 84.0, 141.0, 86.0, 203.0],
    "RandomHaze": [171.95, 209.0, 183.0, 127.0, 204.0],
    "RandomGaussianNoise": [124.59, 95.0, 149.0, 90.0, 230.0],
    "RandomPoissonGaussianNoise": [119.55, 97.0, 147.0, 90.0, 220.0],
    "RandomCorrelatedNoise": [124.75, 99.0, 134.0, 66.0, 193.0],
    "RandomChannelNoise": [124.52, 98.0, 147.0, 94.0, 225.0],
    "RandomCameraShake": [124.21, 89.0, 141.0, 122.0, 160.0],
    "RandomMotionBlur": [124.7, 91.0, 142.0, 91.0, 201.0],
    "RandomDefocus": [124.41, 89.0, 139.0, 93.0, 188.0],
    "RandomGaussianBlur": [124.53, 89.0, 141.0, 92.0, 196.0],
    "RandomLowLight": [49.76, 29.0, 59.0, 25.0, 106.0],
    "RandomSnow": [136.28, 81.0, 140.0, 116.0, 205.0],
    "RandomJpeg": [124.76, 82.0, 129.0, 60.0, 198.0],
    "RandomBitDepth": [113.0, 80.0, 128.0, 64.0, 192.0],
}


def _picture() -> Tensor:
    """``(2, 3, 48, 64)`` in steps of 1/255, made without any draw."""
    channel, row, column = torch.meshgrid(torch.arange(3), torch.arange(48), torch.arange(64), indexing="ij")
    waves = (5 * column + 3 * row + 40 * channel) % 160 + 30 * ((row // 8 + column // 8) % 2)
    return (torch.stack([waves, waves.flip(2)]) + 30) / 255.0


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_results_are_the_same_as_ever(operator: type[Degradation]) -> None:
    made = operator()
    levels = (made.apply(_picture(), made.draw(SEEDS)) * 255.0).round()
    found = [round(float(levels.mean()), 2), *(float(levels[pixel]) for pixel in PIXELS)]
    expected = GOLDEN.get(operator.__name__)
    assert expected is not None, f'"{operator.__name__}": {found},'
    assert found[0] == pytest.approx(expected[0], abs=0.05), found
    assert found[1:] == pytest.approx(expected[1:], abs=1.0), found
