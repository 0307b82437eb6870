import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import RandomNoise

GREY = torch.full((8, 3, 96, 96), 0.5)


def _residual(sigma_8bit: float) -> Tensor:
    operator = RandomNoise(sigma_8bit=(sigma_8bit, sigma_8bit))
    return 255.0 * (operator(GREY, params=operator.draw(np.arange(8))) - GREY)


@pytest.mark.parametrize("sigma_8bit", [15.0, 25.0])
def test_measured_sigma_is_the_one_asked_for(sigma_8bit: float) -> None:
    residual = _residual(sigma_8bit)
    assert float(residual.std()) == pytest.approx(sigma_8bit, rel=0.01)
    assert abs(float(residual.mean())) < 0.01 * sigma_8bit


def test_noise_is_white_over_pixels_channels_and_samples() -> None:
    residual = _residual(25.0) / 25.0
    for dim in (0, 1, 2, 3):
        assert abs(float((residual * residual.roll(1, dim)).mean())) < 5 / residual.numel() ** 0.5


def test_sigma_follows_severity() -> None:
    parameters = RandomNoise(sigma_8bit=(10.0, 50.0)).draw(np.arange(100))
    assert torch.allclose(parameters["sigma_8bit"], 10.0 + 40.0 * parameters["severity"])
