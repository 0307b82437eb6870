import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from abair_pl.errors import ImageError, InputError
from abair_pl.evaluation.protocols import PROTOCOLS, luma, named_protocol


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ((0.0, 0.0, 0.0), 16.0),
        ((1.0, 1.0, 1.0), 235.0),
        ((1.0, 0.0, 0.0), 81.481),
        ((0.0, 1.0, 0.0), 144.553),
        ((0.0, 0.0, 1.0), 40.966),
    ],
    ids=["black", "white", "red", "green", "blue"],
)
def test_luma_is_bt601_in_studio_range(color: tuple[float, float, float], expected: float) -> None:
    image = torch.tensor(color, dtype=torch.float64).view(3, 1, 1).expand(3, 2, 2)
    assert (luma(image) * 255.0).flatten().tolist() == pytest.approx([expected] * 4, abs=1e-9)


@pytest.fixture
def eight_bit() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(256, (3, 20, 24))
    return (target + torch.randint(-20, 21, target.shape)).clamp(0, 255), target


def test_rgb_psnr_equals_scikit_image_on_8_bit_images(eight_bit: tuple[torch.Tensor, torch.Tensor]) -> None:
    restored, target = eight_bit
    expected = peak_signal_noise_ratio(target.numpy().astype(np.uint8), restored.numpy().astype(np.uint8))
    found, _ = named_protocol("rgb").measure(restored / 255.0, target / 255.0)
    assert found == pytest.approx(expected, abs=1e-9)


def test_y_psnr_is_that_of_the_luma(eight_bit: tuple[torch.Tensor, torch.Tensor]) -> None:
    restored, target = (
        16.0 + np.tensordot((65.481, 128.553, 24.966), image.numpy() / 255.0, axes=1) for image in eight_bit
    )
    expected = peak_signal_noise_ratio(target, restored, data_range=255.0)
    found, _ = named_protocol("y").measure(eight_bit[0] / 255.0, eight_bit[1] / 255.0)
    assert found == pytest.approx(expected, abs=1e-9)


def test_ssim_equals_scikit_image_as_the_protocol_names_it(eight_bit: tuple[torch.Tensor, torch.Tensor]) -> None:
    protocol = named_protocol("rgb")
    assert protocol.ssim_window == "gaussian 11 px, sigma 1.5, valid"
    restored, target = (image.numpy().astype(np.uint8) for image in eight_bit)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(target, restored, channel_axis=0, **options)
    _, found = protocol.measure(eight_bit[0] / 255.0, eight_bit[1] / 255.0)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_images_are_rounded_to_8_bit_and_clamped(name: str, eight_bit: tuple[torch.Tensor, torch.Tensor]) -> None:
    target = eight_bit[1] / 255.0
    nearly = target + (torch.rand(target.shape) - 0.5) * 0.9 / 255.0
    beyond = torch.where(target == 1.0, 5.0, nearly)
    for restored in (nearly, beyond):
        values = named_protocol(name).measure(restored, target)
        assert values == pytest.approx((100.0, 1.0), abs=1e-6)


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ImageError, match=r"sizes are \(20, 24\) and \(20, 25\)"):
        named_protocol("rgb").measure(torch.rand(3, 20, 24), torch.rand(3, 20, 25))


def test_images_too_small_for_ssim_are_refused() -> None:
    named_protocol("rgb").measure(torch.rand(3, 11, 11), torch.rand(3, 11, 11))
    with pytest.raises(ImageError, match="image of 40 x 10 pixels; SSIM needs 11"):
        named_protocol("rgb").measure(torch.rand(3, 10, 40), torch.rand(3, 10, 40))


def test_unknown_protocol_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown protocol 'ycbcr'; expected one of: rgb, y"):
        named_protocol("ycbcr")
