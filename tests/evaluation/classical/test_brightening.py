from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from abair_pl.evaluation.classical.brightening import CLAHE, GAMMA
from abair_pl.evaluation.classical.registry import CLASSICAL


@pytest.mark.parametrize(("name", "least_db"), [("gamma", 3.0), ("clahe", 1.0)])
def test_a_dark_photograph_gets_nearer_to_the_bright_one(
    name: str, least_db: float, damage: Callable[..., Any]
) -> None:
    damaged = damage("low_light:severity=0.5", side_px=128)
    assert damaged.gain(CLASSICAL[name].restore(damaged.degraded, damaged.plan)) > least_db


def test_gamma_takes_a_plain_image_to_the_middle() -> None:
    grey = np.full((20, 20, 3), 0.1, dtype=np.float32)
    assert np.allclose(GAMMA.restore(grey, None), 0.5, atol=1e-4)
    assert np.allclose(GAMMA.restore(grey + 0.7, None), 0.5, atol=1e-4)


def test_clahe_is_limited(damage: Callable[..., Any]) -> None:
    dark = damage("low_light:severity=0.5", side_px=128).degraded
    assert CLAHE.restore(dark, None).mean() > 1.2 * dark.mean()
    plain = np.full((64, 64, 3), 0.2, dtype=np.float32)
    noise = np.random.default_rng(0).normal(scale=0.01, size=plain.shape).astype(np.float32)
    assert CLAHE.restore(plain + noise, None).std() < 0.15, "equalization without a limit has 0.29"


def test_clahe_leaves_colours_alone(damage: Callable[..., Any]) -> None:
    grey = damage("low_light:severity=0.5").degraded.mean(axis=2, keepdims=True).repeat(3, axis=2)
    restored = CLAHE.restore(grey, None)
    assert np.ptp(restored, axis=2).max() < 0.01
