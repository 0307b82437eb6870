from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.tiling import tiled


def _image(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height * 1000 + width))


def _curve(tile: Tensor) -> Tensor:
    """A function of each pixel by itself."""
    return tile.square() * 0.5 + 0.25


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 33), st.integers(0, 16))
def test_a_pointwise_function_gives_what_it_gives_untiled(
    height: int, width: int, tile_px: int, overlap_px: int
) -> None:
    overlap_px = min(overlap_px, (tile_px - 1) // 2)
    image = _image(height, width)
    assert torch.allclose(tiled(image, _curve, tile_px, overlap_px), _curve(image), atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 200), st.integers(2, 33), st.integers(0, 16))
def test_tiles_fit_cover_every_pixel_and_overlap_by_no_less(width: int, tile_px: int, overlap_px: int) -> None:
    overlap_px = min(overlap_px, (tile_px - 1) // 2)
    columns = torch.arange(float(width)).expand(1, 3, 1, width)
    spans: list[tuple[int, int]] = []

    def note(tile: Tensor) -> Tensor:
        spans.append((int(tile[0, 0, 0, 0]), int(tile[0, 0, 0, -1]) + 1))
        return tile

    tiled(columns, note, tile_px, overlap_px)
    assert spans[0][0] == 0
    assert spans[-1][1] == width
    assert {stop - start for start, stop in spans} == {min(width, tile_px)}
    assert all(left[1] - right[0] >= overlap_px for left, right in pairwise(spans))


def test_an_image_that_fits_is_done_at_once() -> None:
    shapes: list[torch.Size] = []

    def note(tile: Tensor) -> Tensor:
        shapes.append(tile.shape)
        return tile

    image = _image(32, 20)
    assert torch.equal(tiled(image, note, 32, 8), image)
    assert shapes == [image.shape]


def test_tiles_that_disagree_are_blended_without_a_seam() -> None:
    sign = iter([1.0, -1.0] * 100)
    image = torch.zeros(1, 3, 90, 90)
    blended = tiled(image, lambda tile: tile + next(sign), tile_px=32, overlap_px=15)
    steps = max(float(blended.diff(dim=dim).abs().max()) for dim in (2, 3))
    assert float(blended.max() - blended.min()) > 1.5
    assert steps < 2.5 * 2 / 16


def test_the_number_of_channels_may_change() -> None:
    image = _image(50, 40)
    logits = tiled(image, lambda tile: tile.repeat(1, 2, 1, 1), tile_px=24, overlap_px=4)
    assert torch.allclose(logits, image.repeat(1, 2, 1, 1), atol=1e-6)


def test_tiles_in_half_precision_are_added_up_in_full() -> None:
    image = _image(50, 40)
    blended = tiled(image, lambda tile: tile.bfloat16(), tile_px=24, overlap_px=4)
    assert blended.dtype == torch.float32
    assert torch.allclose(blended, image.bfloat16().float(), atol=1e-6)


def test_the_image_is_not_changed() -> None:
    image = _image(50, 40)
    tiled(image, lambda tile: tile * 2, tile_px=24, overlap_px=4)
    assert torch.equal(image, _image(50, 40))


@pytest.mark.parametrize(("tile_px", "overlap_px"), [(32, 16), (32, 40), (32, -1), (0, 0), (-8, 0)])
def test_a_bad_overlap_is_refused_with_both_numbers(tile_px: int, overlap_px: int) -> None:
    with pytest.raises(InputError, match=rf"overlap is {overlap_px} px and tile {tile_px} px; expected"):
        tiled(_image(50, 40), lambda tile: tile, tile_px, overlap_px)
