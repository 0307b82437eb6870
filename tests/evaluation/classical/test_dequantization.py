from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from abair_pl.evaluation.classical.dequantization import DEQUANTIZATION


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_steps_are_filled(bits: int, damage: Callable[..., Any]) -> None:
    damaged = damage(f"bit_depth:bits={bits}")
    restored = DEQUANTIZATION.restore(damaged.degraded, damaged.plan)
    assert damaged.gain(restored) > 4.0
    assert (restored >= damaged.degraded - 1e-6).all()
    assert (restored <= damaged.degraded + (2 ** (8 - bits) - 1) / 255 + 1e-6).all()


def test_an_image_of_all_bits_stays_as_it_is(damage: Callable[..., Any]) -> None:
    damaged = damage("bit_depth:bits=8")
    assert np.allclose(DEQUANTIZATION.restore(damaged.degraded, damaged.plan), damaged.degraded, atol=1e-6)
