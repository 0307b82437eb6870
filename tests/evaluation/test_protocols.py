import math
from dataclasses import asdict, replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data, filters
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from abair_pl.errors import ImageError, InputError
from abair_pl.evaluation.protocols import PROTOCOLS, Protocol, luma, named_protocol

Array = NDArray[np.float64]

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LUMA_8BIT = {
    (0, 0, 0): 16.0,
    (255, 255, 255): 235.0,
    RED: 81.481,
    GREEN: 144.553,
    BLUE: 40.966,
    (255, 255, 0): 210.034,
    (0, 255, 255): 169.519,
    (255, 0, 255): 106.447,
    (51, 51, 51): 59.8,
    (51, 102, 153): 95.497,
    (255, 51, 102): 117.178,
}
"""``16 + 65.481 R + 128.553 G + 24.966 B`` by hand, R, G and B in [0, 1]."""

COLOR_BARS = {RED: 81, GREEN: 145, BLUE: 41, (255, 255, 0): 210, (0, 255, 255): 170, (255, 0, 255): 106}
"""Luma of the 100 % bars as ITU-R BT.601 has it in 8 bits, and as MATLAB's rgb2ycbcr of uint8."""

SETTINGS = ["", "border=4", "rounding=none", "border=3,rounding=none"]
CASES = [
    f"{name}:{settings}".rstrip(":") for name in ("rgb", "y", "rgb_uniform7", "y_uniform7") for settings in SETTINGS
]
CASES += ["y:rounding=luma", "y_uniform7:border=5,rounding=luma"]


def flat(color: tuple[int, int, int], side: int = 12) -> torch.Tensor:
    return torch.tensor(color, dtype=torch.float64).view(3, 1, 1).expand(3, side, side) / 255.0


@pytest.mark.parametrize(("color", "expected"), LUMA_8BIT.items())
def test_luma_is_bt601_in_studio_range(color: tuple[int, int, int], expected: float) -> None:
    assert (luma(flat(color)) * 255.0).unique().tolist() == pytest.approx([expected], abs=1e-9)


@pytest.mark.parametrize(("first", "second"), permutations(COLOR_BARS, 2))
def test_psnr_of_luma_of_two_colors(first: tuple[int, int, int], second: tuple[int, int, int]) -> None:
    found, _ = named_protocol("y").measure(flat(first), flat(second))
    assert found == pytest.approx(20 * math.log10(255 / abs(LUMA_8BIT[first] - LUMA_8BIT[second])), abs=1e-9)
    found, _ = named_protocol("y:rounding=luma").measure(flat(first), flat(second))
    assert found == pytest.approx(20 * math.log10(255 / abs(COLOR_BARS[first] - COLOR_BARS[second])), abs=1e-9)


def test_black_and_white_are_as_far_apart_as_the_channel_allows() -> None:
    pair = flat((0, 0, 0)), flat((255, 255, 255))
    assert named_protocol("rgb").measure(*pair)[0] == pytest.approx(0.0, abs=1e-9)
    assert named_protocol("y").measure(*pair)[0] == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)


def float32(image: Array) -> Array:
    """The numbers that a tensor of that precision holds."""
    return image.astype(np.float32).astype(np.float64)


def pictures() -> dict[str, tuple[Array, Array]]:
    """Results and references ``(H, W, 3)`` in [0, 1]; results go beyond it, as those of a network do."""
    generator = np.random.default_rng(0)
    clean = {
        "cat": data.chelsea()[:299, :451],
        "coffee": data.coffee()[101:238, 50:261],
        "dark": data.rocket()[:123, :301],
        "sky": data.hubble_deep_field()[400:581, 300:463],
    }
    made = {}
    for name, pixels in clean.items():
        target = pixels / 255.0
        noisy = target + generator.normal(0.0, 0.08, target.shape)
        blurred = filters.gaussian(target, 1.7, channel_axis=2) + 0.02
        for kind, restored in (("noisy", noisy), ("blurred", blurred)):
            made[f"{kind} {name}"] = float32(restored), float32(target)
    return made


PICTURES = pictures()


def by_scikit_image(text: str, restored: Array, target: Array) -> tuple[float, float]:
    """The same in units of 8 bits, by scikit-image and a formula of luma of its own."""
    name, _, given_settings = text.partition(":")
    settings: dict[str, str] = dict(setting.split("=") for setting in given_settings.split(",") if setting)
    border, rounding = int(settings.get("border", 0)), settings.get("rounding", "8bit")

    def prepared(image: Array) -> Any:
        image = 255.0 * image.clip(0.0, 1.0)[border : image.shape[0] - border, border : image.shape[1] - border]
        if rounding != "none":
            image = image.round()
        if rounding == "luma":  # in whole numbers, so that halves are halves
            return 16 + (image.astype(int) @ (65481, 128553, 24966) + 127500) // 255000
        if name.startswith("y"):
            image = 16.0 + (65.481 * image[..., 0] + 128.553 * image[..., 1] + 24.966 * image[..., 2]) / 255.0
        return image

    options: dict[str, Any] = {"data_range": 255.0, "channel_axis": None if name.startswith("y") else 2}
    if not name.endswith("uniform7"):
        options |= {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    first, second = prepared(target), prepared(restored)
    psnr = peak_signal_noise_ratio(first, second, data_range=255.0)
    return float(psnr), float(structural_similarity(first, second, **options))


def as_tensor(image: Array) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float()


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("text", CASES)
def test_protocol_equals_scikit_image(text: str, picture: str) -> None:
    restored, target = PICTURES[picture]
    psnr, ssim = named_protocol(text).measure(as_tensor(restored), as_tensor(target))
    expected = by_scikit_image(text, restored, target)
    assert psnr == pytest.approx(expected[0], abs=1e-6)
    assert ssim == pytest.approx(expected[1], abs=1e-4)


def test_protocols_give_different_numbers() -> None:
    restored, target = (as_tensor(image) for image in PICTURES["noisy cat"])
    found = [named_protocol(text).measure(restored, target) for text in CASES]
    assert all(math.dist(first, second) > 1e-4 for first, second in permutations(found, 2))


def test_every_protocol_is_compared() -> None:
    assert list(dict.fromkeys(text.partition(":")[0] for text in CASES)) == list(PROTOCOLS)


def test_scikit_image_uses_the_uniform_window_where_none_is_named() -> None:
    pixels, clean = data.chelsea()[1:98, :151], data.chelsea()[:97, :151]
    expected = structural_similarity(clean, pixels, channel_axis=2)
    _, found = named_protocol("rgb_uniform7").measure(as_tensor(pixels / 255.0), as_tensor(clean / 255.0))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def eight_bit() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(256, (3, 20, 24))
    return (target + torch.randint(-20, 21, target.shape)).clamp(0, 255) / 255.0, target / 255.0


@pytest.mark.parametrize("name", PROTOCOLS)
def test_images_are_rounded_to_8_bit_and_clamped(name: str, eight_bit: tuple[torch.Tensor, torch.Tensor]) -> None:
    target = eight_bit[1]
    nearly = target + (torch.rand(target.shape) - 0.5) * 0.9 / 255.0
    beyond = torch.where(target == 1.0, 5.0, torch.where(target == 0.0, -5.0, nearly))
    for restored in (nearly, beyond):
        assert named_protocol(name).measure(restored, target) == pytest.approx((100.0, 1.0), abs=1e-6)
        assert named_protocol(name).measure(target, restored) == pytest.approx((100.0, 1.0), abs=1e-6)
        assert named_protocol(f"{name}:rounding=none").measure(restored, target)[0] < 70.0


@pytest.mark.parametrize("text", CASES)
def test_identical_images_count_as_the_cap(text: str, eight_bit: tuple[torch.Tensor, torch.Tensor]) -> None:
    psnr, ssim = named_protocol(text).measure(eight_bit[1], eight_bit[1].clone())
    assert psnr == 100.0
    assert ssim == pytest.approx(1.0, abs=1e-6)


def test_what_is_in_the_border_does_not_count(eight_bit: tuple[torch.Tensor, torch.Tensor]) -> None:
    restored = eight_bit[0].clone()
    restored[:, :4] = restored[:, -4:] = 1.0
    restored[:, :, :4] = restored[:, :, -4:] = 0.0
    inside = named_protocol("rgb").measure(eight_bit[0][:, 4:-4, 4:-4], eight_bit[1][:, 4:-4, 4:-4])
    assert named_protocol("rgb:border=4").measure(restored, eight_bit[1]) == inside


def test_images_are_not_changed(eight_bit: tuple[torch.Tensor, torch.Tensor]) -> None:
    restored = eight_bit[0] * 3.0 - 1.0
    before = restored.clone()
    named_protocol("y:rounding=luma").measure(restored, eight_bit[1])
    assert restored.equal(before)


def test_name_says_what_differs() -> None:
    assert asdict(named_protocol("y:rounding=none,border=04")) == {
        "name": "y:border=4,rounding=none",
        "channel": "BT.601 luma",
        "ssim_window": "gaussian 11 px, sigma 1.5, valid, population covariance",
        "rounding": "none",
        "border_px": 4,
        "average": "mean of per-image values",
        "version": 1,
    }
    assert named_protocol("rgb_uniform7").ssim_window == "uniform 7 px, valid, sample covariance"
    assert named_protocol("y:border=0,rounding=8bit") == PROTOCOLS["y"]
    assert replace(PROTOCOLS["y"], border_px=2).name == "y:border=2"
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())


TEXTS = st.builds(
    lambda name, *settings: f"{name}:{','.join(filter(None, settings))}".rstrip(":"),
    st.sampled_from(sorted(PROTOCOLS)),
    st.sampled_from(["", "border=0", "border=1", "border=12"]),
    st.sampled_from(["", "rounding=8bit", "rounding=none"]),
)


@given(TEXTS, TEXTS)
def test_protocols_share_a_name_only_if_they_are_equal(first: str, second: str) -> None:
    a, b = named_protocol(first), named_protocol(second)
    assert (a.name == b.name) == (a == b)
    assert named_protocol(a.name) == a


@given(st.integers(0, 2**32 - 1), st.sampled_from(CASES))
def test_order_of_the_images_does_not_matter(seed: int, text: str) -> None:
    first, second = torch.rand(2, 3, 22, 25, generator=torch.Generator().manual_seed(seed))
    psnr, ssim = named_protocol(text).measure(first, second)
    assert named_protocol(text).measure(second, first) == pytest.approx((psnr, ssim), abs=1e-6)
    assert 0.0 < psnr < 100.0
    assert -1.0 <= ssim <= 1.0


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ImageError, match=r"sizes are \(20, 24\) and \(20, 25\)"):
        named_protocol("rgb").measure(torch.rand(3, 20, 24), torch.rand(3, 20, 25))


@pytest.mark.parametrize(("text", "least_px"), [("rgb", 11), ("y_uniform7", 7), ("y:border=4", 19)])
def test_images_too_small_for_ssim_are_refused(text: str, least_px: int) -> None:
    image = torch.rand(3, least_px, least_px)
    assert named_protocol(text).measure(image, image)[1] == pytest.approx(1.0)
    image = torch.rand(3, least_px - 1, 40)
    with pytest.raises(ImageError, match=f"image of 40 x {least_px - 1} pixels; SSIM needs {least_px} a side"):
        named_protocol(text).measure(image, image)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ycbcr", "unknown protocol 'ycbcr'; expected one of: rgb, y, rgb_uniform7, y_uniform7"),
        ("rgb-uniform7", "did you mean 'rgb_uniform7'?"),
        ("y:", "unknown setting of protocol y ''; expected one of: border, rounding"),
        ("y:crop=4", "unknown setting of protocol y 'crop'; expected one of: border, rounding"),
        ("y:border", "border is '' in 'y:border'; expected a whole number of pixels, such as border=4"),
        ("y:border=-4", "border is '-4' in 'y:border=-4'; expected a whole number"),
        ("y:border=2.5", "border is '2.5'"),
        ("rgb:rounding=16bit", "unknown rounding of protocol rgb '16bit'; expected one of: 8bit, luma, none"),
        ("rgb:rounding=luma", "protocol rgb has no luma to round; expected y or y_uniform7, or rounding=8bit or none"),
        ("y:border=4,border=4", "'y:border=4,border=4' gives a setting twice"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        named_protocol(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channel": "Y"}, "unknown channel 'Y'; expected one of: RGB, BT.601 luma"),
        ({"channel": "RGB", "ssim_window": "7"}, "unknown window of SSIM '7'"),
        ({"channel": "RGB", "rounding": "8bit"}, "unknown rounding '8bit'; expected one of: 8 bit"),
        ({"channel": "RGB", "border_px": -1}, "border is -1 px; expected at least 0"),
    ],
)
def test_protocols_that_make_no_sense_cannot_be_made(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Protocol(**arguments)
