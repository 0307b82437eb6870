from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from abair_pl.errors import InputError
from abair_pl.evaluation.classical import deconvolution
from abair_pl.evaluation.classical.deconvolution import RICHARDSON_LUCY


@pytest.mark.parametrize("kind", ["shake", "motion", "defocus"])
def test_blur_goes_where_the_kernel_is_known(kind: str, damage: Callable[..., Any]) -> None:
    damaged = damage(f"blur:kind={kind},severity=0.4")
    assert damaged.gain(RICHARDSON_LUCY.restore(damaged.degraded, damaged.plan)) > 2.5


def test_another_kernel_does_not_help(damage: Callable[..., Any]) -> None:
    damaged, other = (damage("blur:kind=shake,severity=0.8", seed=seed) for seed in (0, 1))
    right, wrong = (damaged.gain(RICHARDSON_LUCY.restore(damaged.degraded, each.plan)) for each in (damaged, other))
    assert wrong < right - 3.0


def test_edges_do_not_ring(damage: Callable[..., Any]) -> None:
    plan = damage("blur:kind=defocus,severity=0.5").plan
    plain = np.full((48, 48, 3), 0.5, dtype=np.float32)
    assert np.allclose(RICHARDSON_LUCY.restore(plain, plan), 0.5, atol=0.02)


def test_black_areas_stay_black(damage: Callable[..., Any]) -> None:
    damaged = damage("blur:kind=shake,severity=0.8")
    half = damaged.degraded.copy()
    half[:, : half.shape[1] // 2] = 0.0
    restored = RICHARDSON_LUCY.restore(half, damaged.plan)
    assert np.isfinite(restored).all()
    assert not restored[:, 0].any()


def test_dark_images_give_numbers(damage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With this image and kernel the library's own divisor becomes 0."""
    generator = np.random.default_rng(231)
    kernel = generator.random((5, 5)) * (generator.random((5, 5)) < 0.3)
    monkeypatch.setattr(deconvolution, "blur_kernel", lambda plan: (kernel / kernel.sum()).astype(np.float32))
    plane = (generator.random((48, 48)) ** 8).astype(np.float32)
    plane[plane < 0.3] = 0.0
    restored = RICHARDSON_LUCY.restore(np.stack([plane] * 3, axis=2), damage("blur:severity=0.5").plan)
    assert np.isfinite(restored).all()


def test_without_the_kernel_it_cannot_do(damage: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="needs the true kernel"):
        RICHARDSON_LUCY.restore(damage("blur:severity=0.5").degraded, None)
