import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from abair_pl.metrics import GAUSSIAN_11, PSNR_CAP_DB, UNIFORM_7, RestorationMetrics, SsimWindow, psnr, ssim

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
UNIFORM = {"data_range": 1.0}
WINDOWS = [(GAUSSIAN_11, GAUSSIAN), (UNIFORM_7, UNIFORM)]


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Three images of smooth colour and grain, with noise of unlike strength."""
    coarse = torch.rand(3, 3, 6, 7)
    target = torch.nn.functional.interpolate(coarse, (48, 56), mode="bicubic").clamp(0.0, 1.0)
    sigma = torch.tensor([0.02, 0.08, 0.2]).view(3, 1, 1, 1)
    return (target + torch.randn(target.shape) * sigma).clamp(0.0, 1.0), target


def channels_last(image: Tensor) -> NDArray[np.float64]:
    return image.permute(1, 2, 0).double().numpy()


def test_psnr_equals_scikit_image_for_each_image(pair: tuple[Tensor, Tensor]) -> None:
    expected = [
        peak_signal_noise_ratio(channels_last(b), channels_last(a), data_range=1.0) for a, b in zip(*pair, strict=True)
    ]
    assert psnr(*pair).tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("window", "options"), WINDOWS)
def test_ssim_equals_scikit_image_for_each_image(
    pair: tuple[Tensor, Tensor], window: SsimWindow, options: dict[str, object]
) -> None:
    expected = [
        structural_similarity(channels_last(a), channels_last(b), channel_axis=2, **options)
        for a, b in zip(*pair, strict=True)
    ]
    assert ssim(*pair, window).tolist() == pytest.approx(expected, abs=1e-5)


def test_gaussian_window_is_the_one_where_none_is_given(pair: tuple[Tensor, Tensor]) -> None:
    assert ssim(*pair).tolist() == ssim(*pair, GAUSSIAN_11).tolist()


def test_covariance_is_that_of_a_sample_or_of_the_population(pair: tuple[Tensor, Tensor]) -> None:
    window = SsimWindow("uniform", 7, "population")
    found = ssim(*pair, window)
    expected = structural_similarity(
        channels_last(pair[0][0]), channels_last(pair[1][0]), channel_axis=2, use_sample_covariance=False, **UNIFORM
    )
    assert found[0].item() == pytest.approx(expected, abs=1e-5)
    assert (found - ssim(*pair, UNIFORM_7)).abs().max() > 1e-4


@pytest.mark.parametrize("level", [0.0, 0.1, 0.7, 0.97])
@pytest.mark.parametrize("deviation", [1e-3, 1e-2])
@pytest.mark.parametrize(("window", "options"), WINDOWS)
def test_ssim_of_flat_images_equals_that_of_scikit_image(
    window: SsimWindow, options: dict[str, object], deviation: float, level: float
) -> None:
    """Where float32 would leave the least of a variance."""
    target = torch.full((1, 3, 64, 64), level)
    restored = (target + torch.randn(target.shape) * deviation).clamp(0.0, 1.0)
    expected = structural_similarity(channels_last(restored[0]), channels_last(target[0]), channel_axis=2, **options)
    assert ssim(restored, target, window).item() == pytest.approx(expected, abs=2e-6)


def test_an_identical_pair_counts_as_the_cap(pair: tuple[Tensor, Tensor]) -> None:
    assert psnr(pair[1], pair[1]).tolist() == [PSNR_CAP_DB] * 3 == [100.0] * 3
    assert ssim(pair[1], pair[1]).tolist() == pytest.approx([1.0] * 3)


def test_restored_is_clamped(pair: tuple[Tensor, Tensor]) -> None:
    restored = pair[0] * 3.0 - 1.0
    torch.testing.assert_close(psnr(restored, pair[1]), psnr(restored.clamp(0.0, 1.0), pair[1]))
    torch.testing.assert_close(ssim(restored, pair[1]), ssim(restored.clamp(0.0, 1.0), pair[1]))


def test_bf16_is_measured_in_higher_precision(pair: tuple[Tensor, Tensor]) -> None:
    low = pair[0].bfloat16()
    for measure in (psnr, ssim):
        values = measure(low, pair[1])
        assert values.dtype == torch.float64
        torch.testing.assert_close(values, measure(low.float(), pair[1]))


def test_autocast_does_not_change_what_is_measured(pair: tuple[Tensor, Tensor]) -> None:
    for measure in (psnr, ssim):
        expected = measure(*pair)
        with torch.autocast("cpu", torch.bfloat16):
            assert measure(*pair).equal(expected)


@pytest.mark.parametrize("window", [GAUSSIAN_11, UNIFORM_7])
def test_smallest_image_of_ssim(window: SsimWindow) -> None:
    restored, target = torch.rand(2, 1, 3, window.side_px, window.side_px)
    options = GAUSSIAN if window == GAUSSIAN_11 else UNIFORM
    expected = structural_similarity(channels_last(restored[0]), channels_last(target[0]), channel_axis=2, **options)
    assert ssim(restored, target, window).item() == pytest.approx(expected, abs=1e-5)


def test_metric_is_the_mean_of_images_and_not_of_a_pooled_error(pair: tuple[Tensor, Tensor]) -> None:
    metrics = RestorationMetrics()
    metrics.update(*pair)
    pooled = peak_signal_noise_ratio(pair[1].numpy(), pair[0].numpy(), data_range=1.0)
    found = metrics.compute()
    assert found["psnr"].item() == pytest.approx(psnr(*pair).mean().item())
    assert found["ssim"].item() == pytest.approx(ssim(*pair).mean().item())
    assert found["psnr"].item() > pooled + 1.0


def test_one_identical_pair_does_not_make_the_mean_infinite(pair: tuple[Tensor, Tensor]) -> None:
    metrics = RestorationMetrics()
    metrics.update(pair[0][:1], pair[1][:1])
    metrics.update(pair[1][:1], pair[1][:1])
    assert metrics.compute()["psnr"].item() == pytest.approx((psnr(*pair)[0].item() + 100.0) / 2)


def test_metric_does_not_depend_on_how_images_are_batched(pair: tuple[Tensor, Tensor]) -> None:
    whole, parts = RestorationMetrics(), RestorationMetrics()
    whole.update(*pair)
    for rows in (slice(0, 1), slice(1, 1), slice(1, 3)):
        parts.update(pair[0][rows], pair[1][rows])
    for name, value in whole.compute().items():
        assert parts.compute()[name].item() == pytest.approx(value.item(), rel=1e-6)


def test_metric_without_images_is_nan_and_reset_forgets(pair: tuple[Tensor, Tensor]) -> None:
    metrics = RestorationMetrics()
    metrics.update(*pair)
    metrics.reset()
    metrics.update(pair[0][:0], pair[1][:0])
    assert all(value.isnan() for value in metrics.compute().values())
