from collections.abc import Callable
from typing import Any

import numpy as np

from abair_pl.evaluation.classical.dark_channel import DARK_CHANNEL


def test_haze_that_the_model_describes_goes(damage: Callable[..., Any]) -> None:
    clean = damage("haze:severity=0.5", side_px=160).clean * np.array([0.9, 0.7, 0.3], dtype=np.float32)
    clean[:24] = 0.0
    transmission = np.linspace(0.3, 0.9, 160, dtype=np.float32)[:, None, None]  # far away above, near below
    airlight = np.array([0.8, 0.85, 0.9], dtype=np.float32)
    transmission[:16] = 0.0  # sky
    hazy = clean * transmission + airlight * (1.0 - transmission)
    restored = DARK_CHANNEL.restore(hazy, None).clip(0.0, 1.0)
    below = slice(60, None)
    before, after = (np.abs(image - clean)[below].mean() for image in (hazy, restored))
    assert after < 0.5 * before


def test_haze_of_the_synthesizer_is_reduced(damage: Callable[..., Any]) -> None:
    damaged = damage("haze:severity=0.5", side_px=160)
    assert damaged.gain(DARK_CHANNEL.restore(damaged.degraded, damaged.plan)) > 1.0
