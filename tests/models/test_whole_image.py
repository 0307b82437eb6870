"""Parts of an image that share what is pooled over all of it are restored as in the whole image."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.layers import ChannelAttention
from abair_pl.models.presets import BackboneConfig
from abair_pl.models.prompts import PromptGeneration, _parts
from abair_pl.models.whole_image import WholeImage

VARIANTS: list[dict[str, Any]] = [
    {"unshuffle": 1},
    {"unshuffle": 2},
    {"unshuffle": 1, "window_px": 4},
    {"unshuffle": 2, "window_px": 2, "prompts": 0},
    {"unshuffle": 1, "gain": False, "prompts": 0, "centred_norm": False},
]
variants = pytest.mark.parametrize("changes", VARIANTS, ids=str)


def reach_px(architecture: BackboneConfig) -> int:
    """How far inside it matters what lies beyond a border, which is at a multiple of the stride of windows.

    Each 3x3 convolution sees one pixel of its level further, each window attention all of its windows. The network of
    these tests reaches 99 pixels, 71 without prompts, 122 with windows of 4, and twice as much unshuffled by 2.
    """

    def blocks(level: int, count: int, window_px: int = architecture.window_px) -> list[tuple[int, int]]:
        return [(level, 0), *([(level, window_px)] if window_px else []), (level, 0)] * count

    steps = [(0, 0)]  # the level, and the side of the windows or 0 for a convolution
    for level in range(4):
        steps += [*blocks(level, architecture.blocks[level]), (level, 0)]
    steps.pop()  # nothing below the coarsest
    for level in (2, 1, 0):
        steps += [*blocks(level + 1, min(architecture.prompts, 1), 0), (level + 1, 0)]
        steps += blocks(level, architecture.blocks[level])
    steps += [*blocks(0, architecture.refinement_blocks), (0, 0)]
    reach = 0
    for level, window_px in steps:
        unit = architecture.unshuffle * 2**level * max(window_px, 1)
        reach = -(-reach // unit) * unit + (0 if window_px else unit)
    return reach


WHOLE = [[0.0, 0.0, 1.0, 1.0]]


def look_at(whole: WholeImage, areas: list[list[float]]) -> None:
    """Turn to parts whose pixels all count the same."""
    whole.look_at(torch.tensor(areas), torch.ones(len(areas), 1, 8, 8))


def measured(backbone: Backbone, image: Tensor) -> WholeImage:
    """What the backbone pools over an image, in use."""
    whole = WholeImage()
    backbone.share(whole)
    look_at(whole, WHOLE)
    backbone(image)
    whole.end_round(last=True)
    return whole


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"unshuffle": 1}, 99),
        ({"unshuffle": 2}, 198),
        ({"unshuffle": 1, "prompts": 0}, 71),
        ({"unshuffle": 1, "window_px": 4}, 122),
    ],
    ids=str,
)
def test_a_pixel_matters_as_far_as_the_network_reaches(
    make_backbone: Callable[..., Backbone], changes: dict[str, Any], expected: int
) -> None:
    """And no further: a change of all columns from a border on is felt up to the reach before it."""
    backbone = make_backbone(**changes).double()
    stride_px = backbone.window_stride_px
    border = -(-(expected + 8) // stride_px) * stride_px
    image = torch.rand(1, 3, stride_px, border + stride_px, dtype=torch.float64)
    changed = image.clone()
    changed[..., border:] = torch.rand_like(changed[..., border:])
    with torch.no_grad():
        measured(backbone, image)
        felt = (backbone(image) - backbone(changed)).abs().amax(dim=(0, 1, 2)).nonzero()[0].item()
    assert reach_px(backbone.architecture) == expected
    assert border - felt == expected


@variants
def test_a_whole_image_as_its_only_part_is_restored_as_without(
    make_backbone: Callable[..., Backbone], changes: dict[str, Any]
) -> None:
    backbone, image = make_backbone(**changes), torch.rand(1, 3, 45, 70)
    with torch.no_grad():
        expected = backbone(image)
        backbone.share(whole := WholeImage())
        look_at(whole, WHOLE)
        torch.testing.assert_close(backbone(image), expected, atol=1e-6, rtol=1e-6)
        whole.end_round(last=True)
        torch.testing.assert_close(backbone(image), expected, atol=1e-6, rtol=1e-6)


@variants
def test_tiles_agree_with_the_whole_image_away_from_where_they_are_cut(
    make_backbone: Callable[..., Backbone], changes: dict[str, Any]
) -> None:
    backbone = make_backbone(**changes)
    reach, stride_px = reach_px(backbone.architecture), backbone.window_stride_px
    first = -(-(reach + 8) // stride_px) * stride_px  # the first tiles end here, the others begin at the stride
    height, width = first + stride_px - 3, first + 2 * stride_px - 5
    image = torch.rand(1, 3, height, width)
    padded = torch.tensor([first + stride_px, first + 2 * stride_px] * 2)
    with torch.no_grad():
        expected = backbone(image)
        whole = measured(backbone, image)
        for top, bottom in ((0, first), (stride_px, int(padded[0]))):
            for left, right in ((0, first), (stride_px, int(padded[1]))):
                look_at(whole, (torch.tensor([[top, left, bottom, right]]) / padded).tolist())
                difference = backbone(image[..., top:bottom, left:right]) - expected[..., top:bottom, left:right]
                rows, columns = (slice(reach, None) if start else slice(-reach) for start in (top, left))
                assert difference[..., rows, columns].numel()
                assert difference[..., rows, columns].abs().max() < 1e-5
                assert difference.abs().max() > 1e-4, "a border should matter"


@variants
def test_tiles_of_several_places_in_one_batch_are_restored_as_each_alone(
    make_backbone: Callable[..., Backbone], changes: dict[str, Any]
) -> None:
    backbone, side = make_backbone(**changes), 64
    image = torch.rand(1, 3, 2 * side, 3 * side)
    places = [(0, 0), (side, side), (0, 2 * side)]
    tiles = torch.cat([image[..., top : top + side, left : left + side] for top, left in places])
    areas = [[top / 128, left / 192, (top + side) / 128, (left + side) / 192] for top, left in places]
    with torch.no_grad():
        whole = measured(backbone, image)
        alone = []
        for tile, area in zip(tiles, areas, strict=True):
            look_at(whole, [area])
            alone.append(backbone(tile[None]))
        look_at(whole, areas)
        torch.testing.assert_close(backbone(tiles), torch.cat(alone), atol=1e-5, rtol=1e-5)
        if backbone.architecture.prompts:
            look_at(whole, areas[::-1])
            assert (backbone(tiles) - torch.cat(alone)).abs().max() > 1e-4, "places should matter"


@variants
def test_moved_content_is_restored_the_same_away_from_the_border(
    make_backbone: Callable[..., Backbone], changes: dict[str, Any]
) -> None:
    """By a multiple of the stride, with zeros beyond the border, but prompts that are the same everywhere."""
    backbone = make_backbone(**changes)
    for layer in backbone.modules():
        if isinstance(layer, PromptGeneration):
            maps = layer.components.data
            maps.copy_(maps.mean(dim=(2, 3), keepdim=True).expand_as(maps))
    reach, shift = reach_px(backbone.architecture), backbone.window_stride_px
    width = -(-(2 * reach + 1) // shift) * shift + shift
    image = torch.rand(1, 3, 2 * shift, width)
    with torch.no_grad():
        measured(backbone, image)
        difference = backbone(image.roll(shift, dims=3)) - backbone(image).roll(shift, dims=3)
    assert difference[..., shift + reach : -reach].numel()
    assert difference[..., shift + reach : -reach].abs().max() < 1e-5
    assert difference.abs().max() > 1e-4, "the border should matter"


def test_sharing_ends_with_none(make_backbone: Callable[..., Backbone]) -> None:
    backbone, image, other = make_backbone(), torch.rand(2, 3, 24, 40), torch.rand(1, 3, 32, 32) ** 3
    with torch.no_grad():
        expected = backbone(image)
        look_at(measured(backbone, other), WHOLE * 2)
        assert (backbone(image) - expected).abs().max() > 1e-3
        backbone.share(None)
        assert torch.equal(backbone(image), expected)


@pytest.fixture
def attention() -> ChannelAttention:
    """Attention in which a pixel depends on others only by what is pooled."""
    layer = ChannelAttention(8, 2)
    nn.init.dirac_(layer.qkv_dwconv.weight, groups=24)
    nn.init.normal_(layer.temperature, 3.0)
    return layer


def test_parts_that_overlap_are_pooled_over_by_what_their_pixels_count(attention: ChannelAttention) -> None:
    x = torch.randn(1, 8, 6, 12) * torch.linspace(0.1, 3.0, 12)
    parts = [x[..., :8], x[..., 4:]]
    window = torch.cat((torch.ones(4), torch.linspace(0.9, 0.1, 4))).expand(1, 1, 6, 8)
    windows, areas = [window, window.flip(3)], torch.tensor([[0.0, 0.0, 1.0, 8 / 12], [0.0, 4 / 12, 1.0, 1.0]])
    expected = attention(x)
    expected = torch.cat((expected[..., :8], expected[..., 4:]))
    assert not torch.allclose(attention(torch.cat(parts)), expected, atol=1e-3)
    whole = attention.whole = WholeImage()
    whole.look_at(areas, torch.cat(windows))
    torch.testing.assert_close(attention(torch.cat(parts)), expected, atol=1e-5, rtol=1e-5)
    whole.end_round(last=False)
    # And one after the other.
    for part, counts, area in zip(parts, windows, areas, strict=True):
        whole.look_at(area[None], counts)
        attention(part)
    whole.end_round(last=True)
    torch.testing.assert_close(torch.cat([attention(part) for part in parts]), expected, atol=1e-5, rtol=1e-5)


def test_a_round_uses_what_the_one_before_has_pooled(attention: ChannelAttention) -> None:
    first, second = torch.randn(2, 1, 8, 6, 6) * torch.linspace(0.1, 3.0, 8).view(8, 1, 1)
    whole = attention.whole = WholeImage()
    look_at(whole, WHOLE)
    attention(first)
    whole.end_round(last=False)
    look_at(whole, WHOLE)
    by_the_first = attention(second)
    whole.end_round(last=True)
    by_itself = attention(second)
    attention.whole = None
    torch.testing.assert_close(by_itself, attention(second), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(by_the_first, by_itself, atol=1e-3)


def test_pixels_that_do_not_count_are_left_out(attention: ChannelAttention) -> None:
    x = torch.randn(2, 8, 6, 6)
    whole = attention.whole = WholeImage()
    whole.look_at(torch.tensor(WHOLE * 2), torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).expand(-1, -1, 6, 6))
    shared = attention(x)[0]
    attention.whole = None
    torch.testing.assert_close(shared, attention(x)[0], atol=1e-5, rtol=1e-5)


def test_the_plain_backbone_and_the_mixture_pool_each_for_itself(blended: BlendedBackbone) -> None:
    image, weights = torch.rand(1, 3, 24, 40), torch.ones(1, 5)
    with torch.no_grad():
        labels, restored = blended.segment(image), blended(image, weights)
        blended.share(whole := WholeImage())
        try:
            for _ in range(2):  # measured first, then used
                look_at(whole, WHOLE)
                torch.testing.assert_close(blended.segment(image), labels, atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(blended(image, weights), restored, atol=1e-5, rtol=1e-5)
                if whole.measuring:
                    whole.end_round(last=True)
        finally:
            blended.share(None)


@pytest.mark.parametrize("size", [(1, 1), (3, 12), (12, 8), (5, 5)])
def test_parts_of_the_whole_are_what_interpolation_stretches(size: tuple[int, int]) -> None:
    image = torch.randn(1, 3, 5, 5)
    expected = F.interpolate(image, size, mode="bilinear")
    torch.testing.assert_close(_parts(image, size, torch.tensor([[0.0, 0.0, 1.0, 1.0]])), expected)


def test_parts_are_crops_of_what_interpolation_stretches() -> None:
    image, boxes = torch.randn(1, 3, 5, 5), [(0, 0, 6, 4), (3, 10, 9, 14), (6, 16, 12, 20)]
    stretched = F.interpolate(image, (12, 20), mode="bilinear")
    areas = torch.tensor(boxes) / torch.tensor([12, 20, 12, 20])
    expected = torch.cat([stretched[..., top:bottom, left:right] for top, left, bottom, right in boxes])
    torch.testing.assert_close(_parts(image, (6, 4), areas), expected)
