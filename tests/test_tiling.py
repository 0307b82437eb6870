from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.tiling import Tile, Tiling, _counts, _spread, cut_into_tiles, tiled


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
    assert torch.allclose(
        tiled(image, lambda tile, _: _curve(tile), Tiling(tile_px, overlap_px)), _curve(image), atol=1e-5
    )


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 400), st.integers(4, 60), st.integers(0, 16), st.integers(1, 8))
def test_tiles_cover_every_pixel_overlap_by_no_less_and_start_at_multiples(
    side: int, tile_px: int, overlap_px: int, stride_px: int
) -> None:
    overlap_px = min(overlap_px, (tile_px - 1) // 2)
    stride_px = min(stride_px, tile_px - overlap_px)
    spans = Tiling(tile_px, overlap_px, stride_px).spans(side)
    assert spans[0][0] == 0
    assert spans[-1][1] == side
    assert all(start % stride_px == 0 and 0 < end - start <= tile_px for start, end in spans)
    assert all(left[1] - right[0] >= overlap_px for left, right in pairwise(spans))


def test_a_function_is_told_where_its_tile_lies() -> None:
    image = _image(50, 40)

    def check(pixels: Tensor, tile: Tile) -> Tensor:
        top, left, bottom, right = tile.box
        assert torch.equal(pixels, image[..., top:bottom, left:right])
        assert tile.window.shape == pixels.shape[2:]
        return pixels

    tiled(image, check, Tiling(24, 4))


def test_tiles_that_disagree_are_blended_without_a_seam() -> None:
    sign = iter([1.0, -1.0] * 100)
    image = torch.zeros(1, 3, 500, 500)
    blended = tiled(image, lambda tile, _: tile + next(sign), Tiling(256, 120))
    steps = max(float(blended.diff(dim=dim).abs().max()) for dim in (2, 3))
    assert float(blended.max() - blended.min()) > 1.5
    assert steps < 2.5 * 2 / 15


def test_the_number_of_channels_may_change() -> None:
    image = _image(50, 40)
    logits = tiled(image, lambda tile, _: tile.repeat(1, 2, 1, 1), Tiling(24, 4))
    assert torch.allclose(logits, image.repeat(1, 2, 1, 1), atol=1e-6)


def test_tiles_in_half_precision_are_added_up_in_full() -> None:
    image = _image(50, 40)
    blended = tiled(image, lambda tile, _: tile.bfloat16(), Tiling(24, 4))
    assert blended.dtype == torch.float32
    assert torch.allclose(blended, image.bfloat16().float(), atol=1e-6)


def test_the_image_is_not_changed() -> None:
    image = _image(50, 40)
    tiled(image, lambda tile, _: tile * 2, Tiling(24, 4))
    assert torch.equal(image, _image(50, 40))


@pytest.mark.parametrize(("tile_px", "overlap_px"), [(32, 16), (32, 40), (32, -1), (0, 0), (-8, 0)])
def test_a_bad_overlap_is_refused_with_both_numbers(tile_px: int, overlap_px: int) -> None:
    with pytest.raises(InputError, match=rf"overlap is {overlap_px} px and tile {tile_px} px; expected"):
        Tiling(tile_px, overlap_px)


def test_tiles_smaller_than_the_windows_are_refused() -> None:
    with pytest.raises(InputError, match="this preset needs tiles of at least 80 px"):
        Tiling(72, 16, 64)


def test_a_few_of_many_tiles_are_spread_over_rows_and_columns() -> None:
    tiles = list(cut_into_tiles(6000, 900, Tiling(512, 160)))
    chosen = _spread(tiles, 32)
    assert 24 < len({tile.box for tile in chosen}) == len(chosen) <= 32 < len(tiles)
    assert {tile.box[1] for tile in chosen} == {tile.box[1] for tile in tiles}
    assert max(below.box[0] - above.box[0] for above, below in pairwise(chosen)) <= 3 * 352
    assert _spread(tiles, len(tiles)) == tiles


def test_only_the_padding_beyond_the_image_counts() -> None:
    tiling, image = Tiling(20, 4), (36, 30)
    corner, end = next(cut_into_tiles(*image, tiling)), list(cut_into_tiles(*image, tiling))[-1]
    assert _counts(corner, [24, 24], image)[20:].eq(0.0).all()
    assert _counts(corner, [24, 24], image)[:, 20:].eq(0.0).all()
    assert _counts(end, [24, 24], image)[-1, -1] == end.window[-1, -1] > 0.0
