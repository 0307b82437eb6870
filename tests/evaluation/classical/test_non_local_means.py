from collections.abc import Callable
from typing import Any

from abair_pl.evaluation.classical.non_local_means import NON_LOCAL_MEANS


def test_noise_goes_with_and_without_knowing_how_strong_it_is(damage: Callable[..., Any]) -> None:
    damaged = damage("noise:sigma=25")
    assert damaged.gain(NON_LOCAL_MEANS.restore(damaged.degraded, damaged.plan)) > 4.0
    assert damaged.gain(NON_LOCAL_MEANS.restore(damaged.degraded, None)) > 4.0


def test_the_plan_says_how_strong_it_is(damage: Callable[..., Any]) -> None:
    weak, strong = (damage(f"noise:sigma={sigma}") for sigma in (2, 50))
    assert strong.gain(NON_LOCAL_MEANS.restore(strong.degraded, weak.plan)) < 1.0
