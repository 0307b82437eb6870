from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from abair_pl.degradations import BUILT_IN
from abair_pl.errors import InputError
from abair_pl.evaluation.classical.registry import CLASSICAL, classical_method

NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(CLASSICAL[name].installed is None, reason="an extra"))
    for name in CLASSICAL
]


def test_every_degradation_has_a_method_and_every_method_one() -> None:
    assert {degradation for each in CLASSICAL.values() for degradation in each.degradations} == set(BUILT_IN)
    assert all(each.degradations and each.summary.isprintable() for each in CLASSICAL.values())


def test_a_name_that_is_not_known_is_refused() -> None:
    assert classical_method("clahe") is CLASSICAL["clahe"]
    with pytest.raises(InputError, match=r"unknown classical method 'bm3'; expected one of: .*did you mean 'bm3d'"):
        classical_method("bm3")


@pytest.mark.parametrize("name", NAMES)
def test_shape_and_type_stay_and_the_input_is_left_alone(name: str, damage: Callable[..., Any]) -> None:
    method = classical_method(name)
    damaged = damage(f"{method.degradations[0]}:severity=0.5", side_px=40)
    image = damaged.degraded[:33].copy()
    restored = method.restore(image, damaged.plan)
    assert restored.shape == (33, 40, 3)
    assert restored.dtype == np.float32
    assert np.isfinite(restored).all()
    assert np.array_equal(image, damaged.degraded[:33])
    assert np.array_equal(method.restore(image, damaged.plan), restored), "twice the same"


@pytest.mark.parametrize("name", NAMES)
def test_red_stays_red_and_black_black(name: str, damage: Callable[..., Any]) -> None:
    method = classical_method(name)
    plan = damage(f"{method.degradations[0]}:severity=0.5", side_px=40).plan
    red = np.full((40, 40, 3), (0.6, 0.2, 0.1), dtype=np.float32)
    red += np.random.default_rng(0).normal(scale=0.01, size=red.shape).astype(np.float32)
    means = method.restore(red, plan).mean(axis=(0, 1))
    assert means[0] > 1.5 * means[1] > 1.5 * means[2]
    assert np.isfinite(method.restore(np.zeros_like(red), plan)).all()
