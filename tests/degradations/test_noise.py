import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import (
    RandomChannelNoise,
    RandomCorrelatedNoise,
    RandomGaussianNoise,
    RandomPoissonGaussianNoise,
)
from abair_pl.degradations.noise import Noise

KINDS = [RandomGaussianNoise, RandomPoissonGaussianNoise, RandomCorrelatedNoise, RandomChannelNoise]
SEEDS = np.arange(8)
SIDE = 256


def _residual(operator: Noise, level: float = 0.5) -> Tensor:
    """What an operator adds to grey images, ``(8, 3, 256, 256)`` in units of 1/255."""
    grey = torch.full((len(SEEDS), 3, SIDE, SIDE), level)
    return 255.0 * (operator.apply(grey, operator.draw(SEEDS)) - grey)


def _correlation(residual: Tensor, dim: int) -> float:
    """Of neighbours along a dimension."""
    return float((residual * residual.roll(1, dim)).mean() / residual.var())


@pytest.mark.parametrize("sigma_8bit", [5.0, 15.0, 25.0, 30.0])
@pytest.mark.parametrize("kind", KINDS)
def test_measured_sigma_at_mid_grey_is_the_one_asked_for(kind: type[Noise], sigma_8bit: float) -> None:
    residual = _residual(kind(sigma_8bit=(sigma_8bit, sigma_8bit)))
    assert float(residual.std()) == pytest.approx(sigma_8bit, rel=0.01)
    # The tone curve bends what was even in linear light.
    assert abs(float(residual.mean())) < (0.25 if kind is RandomPoissonGaussianNoise else 0.005) * sigma_8bit


def test_gaussian_noise_is_white_over_samples_channels_and_pixels() -> None:
    residual = _residual(RandomGaussianNoise(sigma_8bit=(25.0, 25.0)))
    for dim in range(4):
        assert abs(_correlation(residual, dim)) < 5 / residual.numel() ** 0.5


def test_gaussian_noise_has_the_tails_of_a_normal_distribution() -> None:
    residual = _residual(RandomGaussianNoise(sigma_8bit=(25.0, 25.0))) / 25.0
    for limit, share in ((1.0, 0.3173), (2.0, 0.0455), (3.0, 0.0027)):
        assert float((residual.abs() > limit).float().mean()) == pytest.approx(share, rel=0.03)


def test_sigma_follows_severity() -> None:
    parameters = RandomGaussianNoise(sigma_8bit=(10.0, 50.0)).draw(np.arange(100))
    assert torch.allclose(parameters["sigma_8bit"], 10.0 + 40.0 * parameters["severity"])


def test_shot_noise_grows_with_light_and_read_noise_does_not() -> None:
    """In linear light, to the power 2.25, in which a sensor counts."""
    slopes = {}
    for share in (0.0, 0.6, 1.0):
        operator = RandomPoissonGaussianNoise(sigma_8bit=(8.0, 8.0), shot_share=(share, share))
        variances, lights = [], []
        for level in (0.3, 0.5, 0.7, 0.85):
            grey = torch.full((4, 3, 192, 192), level)
            linear = operator.apply(grey, operator.draw(SEEDS[:4])).double() ** 2.25
            variances.append(float(linear.var()))
            lights.append(level**2.25)
        slope, offset = np.polyfit(lights, variances, 1)
        assert np.allclose(variances, slope * np.array(lights) + offset, rtol=0.03)
        slopes[share] = slope * lights[1] / variances[1]  # of the variance at mid-grey
    assert slopes[0.0] == pytest.approx(0.0, abs=0.02)
    assert slopes[0.6] == pytest.approx(0.6, abs=0.03)
    assert slopes[1.0] == pytest.approx(1.0, abs=0.03)


def test_shot_noise_leaves_black_alone() -> None:
    operator = RandomPoissonGaussianNoise(shot_share=(1.0, 1.0))
    black = torch.zeros(2, 3, 8, 8)
    assert torch.equal(operator.apply(black, operator.draw(SEEDS[:2])), black)


@pytest.mark.parametrize("grain_px", [0.5, 1.0, 2.0])
def test_correlated_noise_is_a_gaussian_filters(grain_px: float) -> None:
    """White noise under a Gaussian of deviation s has the correlation exp(-d^2 / 4 s^2) at distance d."""
    operator = RandomCorrelatedNoise(sigma_8bit=(20.0, 20.0), grain_px=(grain_px, grain_px))
    residual = _residual(operator)
    for dim in (2, 3):
        for distance in (1, 2, 3):
            found = float((residual * residual.roll(distance, dim)).mean() / residual.var())
            expected = np.exp(-(distance**2) / (4 * grain_px**2))
            # half a pixel is less than the grid can hold
            assert found == pytest.approx(expected, abs=0.02 if grain_px >= 1 else 0.06)
    assert abs(_correlation(residual, 1)) < 0.02
    assert abs(_correlation(residual, 0)) < 0.02


@pytest.mark.parametrize("size", [(33, 48), (48, 33), (1, 7)], ids=str)
def test_correlated_noise_keeps_its_sigma_on_odd_sizes(size: tuple[int, int]) -> None:
    operator = RandomCorrelatedNoise(sigma_8bit=(20.0, 20.0), grain_px=(1.0, 1.0))
    seeds = np.arange(120 if size[0] > 1 else 6000)
    grey = torch.full((len(seeds), 3, *size), 0.5)
    residual = 255.0 * (operator.apply(grey, operator.draw(seeds)) - grey)
    assert float(residual.square().mean().sqrt()) == pytest.approx(20.0, rel=0.02)


def test_correlated_noise_without_grain_is_white() -> None:
    sharp = RandomCorrelatedNoise(sigma_8bit=(20.0, 20.0), grain_px=(0.0, 0.0))
    white = RandomGaussianNoise(sigma_8bit=(20.0, 20.0))
    assert torch.allclose(_residual(sharp), _residual(white), atol=1e-3)


def test_channel_noise_differs_by_channel_with_the_gains_drawn() -> None:
    operator = RandomChannelNoise(sigma_8bit=(20.0, 20.0), common=(0.0, 0.0))
    drawn = operator.draw(SEEDS)
    gains = torch.stack([drawn[color] for color in ("red", "green", "blue")], dim=1)
    measured = _residual(operator).square().mean(dim=(2, 3)).sqrt()
    assert torch.allclose(measured, 20.0 * gains, rtol=0.02)
    assert torch.allclose(gains.square().mean(dim=1), torch.ones(8), atol=1e-5)
    assert float((gains.amax(1) / gains.amin(1)).max()) > 1.5


@pytest.mark.parametrize("common", [0.0, 0.5, 1.0])
def test_channels_have_the_share_of_their_variance_in_common(common: float) -> None:
    residual = _residual(RandomChannelNoise(sigma_8bit=(20.0, 20.0), common=(common, common)))
    for sample in residual.flatten(2):
        found = torch.corrcoef(sample)[[0, 0, 1], [1, 2, 2]]
        assert torch.allclose(found, torch.full((3,), common), atol=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_no_noise_changes_nothing(kind: type[Noise], photo: Tensor) -> None:
    operator = kind(sigma_8bit=(0.0, 0.0))
    assert torch.allclose(operator.apply(photo, operator.draw(SEEDS[:4])), photo, atol=1e-5)
