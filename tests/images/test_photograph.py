from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from abair_pl.errors import ImageError
from abair_pl.images import to_8bit, to_pixels


def test_to_8bit_rounds_and_clamps() -> None:
    pixels = torch.tensor([-0.1, 0.0, 0.4 / 255, 0.6 / 255, 127.5 / 255, 1.0, 1.2]).expand(3, 1, 7)
    assert np.asarray(to_8bit(pixels))[0, :, 0].tolist() == [0, 0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_arrays_become_pixels_of_their_full_precision(kind: type) -> None:
    top = np.iinfo(kind).max
    array: NDArray[Any] = np.random.default_rng(0).integers(0, top + 1, (5, 6, 3)).astype(kind)
    pixels = to_pixels(array)
    assert pixels.shape == (3, 5, 6)
    assert np.array_equal((pixels.double() * top).round().permute(1, 2, 0).numpy(), array)


@pytest.mark.parametrize("image", [torch.zeros(3, 0, 4), np.zeros((4, 0, 3), np.uint8)])
def test_images_without_pixels_are_refused(image: Any) -> None:
    with pytest.raises(ImageError, match="without pixels"):
        to_pixels(image)


def test_arrays_of_other_types_are_refused() -> None:
    with pytest.raises(ImageError, match=r"int32; expected \(H, W, 3\) uint8 or uint16 RGB"):
        to_pixels(np.zeros((4, 4, 3), np.int32))  # type: ignore[arg-type]


def test_a_path_is_no_image() -> None:
    with pytest.raises(
        ImageError, match=r"cat.png is a path; expected an image in memory: open it with PIL.Image.open"
    ):
        to_pixels("cat.png")  # type: ignore[arg-type]
