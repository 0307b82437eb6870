from collections.abc import Callable
from typing import Any

import pytest

from abair_pl.evaluation.classical.block_matching import BM3D

pytest.importorskip("bm3d")


def test_noise_goes_with_and_without_knowing_how_strong_it_is(damage: Callable[..., Any]) -> None:
    damaged = damage("noise:sigma=25", side_px=40)
    assert damaged.gain(BM3D.restore(damaged.degraded, damaged.plan)) > 6.0
    assert damaged.gain(BM3D.restore(damaged.degraded, None)) > 5.0


def test_the_plan_says_how_strong_it_is(damage: Callable[..., Any]) -> None:
    weak, strong = (damage(f"noise:sigma={sigma}", side_px=32) for sigma in (5, 50))
    assert strong.gain(BM3D.restore(strong.degraded, strong.plan)) > 3.0
    assert strong.gain(BM3D.restore(strong.degraded, weak.plan)) < 1.0
