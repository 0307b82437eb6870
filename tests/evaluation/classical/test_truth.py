from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from abair_pl.degradations.kernels import convolve
from abair_pl.evaluation.classical.truth import blur_kernel, noise_sigma


def test_the_noise_is_as_strong_as_it_says(damage: Callable[..., Any]) -> None:
    damaged = damage("noise:sigma=15")
    assert noise_sigma(damaged.plan) == pytest.approx(15 / 255)
    inner = (damaged.clean > 0.2) & (damaged.clean < 0.8)  # where nothing is clamped
    assert (damaged.degraded - damaged.clean)[inner].std() == pytest.approx(15 / 255, rel=0.05)


@pytest.mark.parametrize("kind", ["shake", "motion", "defocus", "gaussian"])
def test_the_kernel_is_the_one_that_blurred(kind: str, damage: Callable[..., Any]) -> None:
    damaged = damage(f"blur:kind={kind},severity=0.5")
    kernel = blur_kernel(damaged.plan)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    again = convolve(torch.from_numpy(damaged.clean).permute(2, 0, 1)[None], torch.from_numpy(kernel)[None])
    assert np.allclose(again[0].permute(1, 2, 0).clamp(0, 1).numpy(), damaged.degraded, atol=1e-5)


def test_what_did_not_blur_has_no_kernel(damage: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="RandomGaussianNoise; expected a kind of blur"):
        blur_kernel(damage("noise:sigma=15").plan)
