from collections.abc import Callable
from typing import Any

import numpy as np

from abair_pl.evaluation.classical.smoothing import DEBLOCKING, MEDIAN


def test_blocks_are_smoothed(damage: Callable[..., Any]) -> None:
    damaged = damage("jpeg:quality=20")
    assert damaged.gain(DEBLOCKING.restore(damaged.degraded, damaged.plan)) > 0.1


def test_edges_are_kept(damage: Callable[..., Any]) -> None:
    edge = np.zeros((24, 24, 3), dtype=np.float32)
    edge[:, 12:] = 0.8
    assert np.allclose(DEBLOCKING.restore(edge, None), edge, atol=1e-3)


def test_lone_bright_pixels_go() -> None:
    grey = np.full((24, 24, 3), (0.3, 0.4, 0.5), dtype=np.float32)
    snowy = grey.copy()
    snowy[::5, ::5] = 1.0
    assert np.array_equal(MEDIAN.restore(snowy, None), grey)
