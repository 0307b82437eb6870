import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from abair_pl.models.codec_traces import CODEC_TRACES, codec_traces


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(skimage.data.coffee())


def traces(image: Image.Image, corner: tuple[int, int] = (0, 0)) -> Tensor:
    pixels = torch.from_numpy(np.asarray(image)[corner[0] :, corner[1] :].copy())
    return codec_traces(pixels.permute(2, 0, 1)[None] / 255.0)[0]


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.mark.parametrize("corner", [(0, 0), (3, 5)])
def test_the_grid_shows_wherever_it_lies_and_more_the_coarser_the_codec(
    photograph: Image.Image, corner: tuple[int, int]
) -> None:
    values = [traces(image, corner)[:2] for image in (photograph, as_jpeg(photograph, 60), as_jpeg(photograph, 15))]
    assert (values[0] < 0.06).all()
    assert (values[1] > values[0] + 0.05).all()
    assert (values[2] > values[1] + 0.2).all()


@pytest.mark.parametrize("bits", [7, 6, 5, 4, 3])
def test_empty_levels_tell_how_many_bits_are_lost(photograph: Image.Image, bits: int) -> None:
    step = 2 ** (8 - bits)
    quantized = Image.fromarray(np.asarray(photograph) // step * step)
    combs = traces(quantized)[2:]
    assert (combs[: 8 - bits] > 0.99).all()
    assert (combs[8 - bits :] < 0.8).all()
    assert traces(photograph)[2:].abs().max() < 0.35


def test_black_and_white_are_no_trace_of_lost_bits() -> None:
    halves = torch.zeros(1, 3, 64, 64)
    halves[..., 32:] = 1.0
    assert torch.equal(codec_traces(halves)[0, 2:], torch.zeros(5))


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (16, 17)])
def test_small_images_have_finite_traces(size: tuple[int, int]) -> None:
    found = codec_traces(torch.rand(2, 3, *size))
    assert found.shape == (2, CODEC_TRACES)
    assert found.isfinite().all()
