import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from abair_pl.data.shards.resize import encode_scaled, encode_scaled_depth, limited


@given(st.integers(1, 40_000), st.integers(1, 40_000), st.integers(1, 5_000))
def test_the_longer_side_is_the_limit_and_the_shape_is_kept(height: int, width: int, limit: int) -> None:
    new = limited((height, width), limit)
    if max(height, width) <= limit:
        assert new == (height, width)
    else:
        assert max(new) == limit
        assert min(new) == max(round(min(height, width) * limit / max(height, width)), 1)


def test_no_limit_changes_nothing() -> None:
    assert limited((30_000, 20_000), None) == (30_000, 20_000)


@pytest.mark.parametrize(
    ("suffix", "kind"), [("jpg", "JPEG"), ("jpeg", "JPEG"), ("png", "PNG"), ("tif", "PNG"), ("webp", "PNG")]
)
def test_lossy_files_stay_lossy_and_others_do_not(suffix: str, kind: str) -> None:
    data, new_suffix = encode_scaled(np.full((60, 40, 3), 90, dtype=np.uint8), (30, 20), suffix)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == (kind, (20, 30))
        assert new_suffix == {"JPEG": "jpg", "PNG": "png"}[kind]
        if kind == "JPEG":
            sampling = [component[1:3] for component in image.layer]  # type: ignore[attr-defined]
            assert sampling == [(1, 1)] * 3  # full colour resolution


def test_detail_too_fine_for_the_new_size_is_averaged_not_aliased() -> None:
    stripes = np.zeros((240, 240, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    data, _ = encode_scaled(stripes, (50, 50), "png")
    inside = np.asarray(Image.open(io.BytesIO(data)))[4:-4, 4:-4]
    assert np.abs(inside.astype(int) - 127).max() <= 6


def test_the_same_pixels_give_the_same_bytes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    assert encode_scaled(pixels, (25, 20), "jpg") == encode_scaled(pixels.copy(), (25, 20), "jpg")


def test_depth_is_the_mean_of_its_area_in_16_bits() -> None:
    depth = np.array([[0.0, 0.5], [1.0, 0.25]], dtype=np.float32).repeat(2, axis=1)
    with Image.open(io.BytesIO(encode_scaled_depth(depth, (1, 2)))) as image:
        assert image.mode.startswith("I")
        assert np.asarray(image).tolist() == [[round(0.5 * 65535), round(0.375 * 65535)]]
