"""What holds for any size, type, memory format and architecture."""

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.backbone import Backbone
from abair_pl.models.prompts import PromptGeneration
from abair_pl.models.tone import ToneHead

VARIANTS: dict[str, dict[str, Any]] = {
    "nano": {},
    "windows": {"window_px": 4},
    "fine": {"unshuffle": 1},
    "fine windows": {"unshuffle": 1, "window_px": 4},
    "no gain": {"gain": False},
    "no tone head": {"tone_dim": 0},
    "no prompts": {"prompts": 0},
    "no head": {"head_dim": 0},
    "deep head": {"head_blocks": 1},
    "norms not centred": {"centred_norm": False},
    "nothing optional": {"unshuffle": 1, "gain": False, "prompts": 0, "head_dim": 0, "refinement_blocks": 0},
}
each_variant = pytest.mark.parametrize("variant", VARIANTS)


@dataclass(frozen=True)
class Case:
    """A batch, and how the network is run on it."""

    height: int
    width: int
    batch: int
    bf16: bool
    training: bool
    channels_last: bool


def drawn(count: int, largest: tuple[int, int], seed: int, most: int = 3) -> Iterator[Case]:
    """Cases of any size, small ones as likely as large ones."""
    chance = random.Random(seed)
    for _ in range(count):
        height, width = (round(side ** chance.random()) for side in largest)
        yield Case(height, width, chance.randint(1, most), *(chance.random() < 0.5 for _ in range(3)))


SMALL = [
    Case(1, 1, 3, bf16=True, training=True, channels_last=True),
    Case(1, 1, 1, bf16=False, training=False, channels_last=False),
    *drawn(12, (90, 90), seed=0),
]
LONG = [
    Case(1, 700, 1, bf16=False, training=True, channels_last=False),
    Case(700, 1, 2, bf16=True, training=False, channels_last=True),
]
LARGE = [
    Case(700, 500, 1, bf16=False, training=False, channels_last=True),
    Case(700, 500, 1, bf16=True, training=True, channels_last=False),
    *drawn(12, (700, 500), seed=1),
]


def check(backbone: Backbone, case: Case) -> None:
    """Restored images and logits have the size of the input and are finite; so are gradients in training."""
    memory_format = torch.channels_last if case.channels_last else torch.contiguous_format
    image = torch.rand(case.batch, 3, case.height, case.width).to(memory_format=memory_format)
    with torch.set_grad_enabled(case.training), torch.autocast("cpu", torch.bfloat16) if case.bf16 else nullcontext():
        encoding = backbone.train(case.training).encode(image)
        restored = backbone.decode(encoding)
        results = [restored] if backbone.segmentation_head is None else [restored, backbone.segment(encoding)]
    for result, channels in zip(results, (3, backbone.labels), strict=False):
        assert result.shape == (case.batch, channels, case.height, case.width)
        assert result.isfinite().all()
    if case.training:
        backbone.zero_grad()
        torch.stack([result.float().square().mean() for result in results]).sum().backward()
        gradients = {name: parameter.grad for name, parameter in backbone.named_parameters()}
        broken = [name for name, value in gradients.items() if value is None or not value.isfinite().all()]
        assert broken == []


@each_variant
@pytest.mark.parametrize("case", [*SMALL, *LONG], ids=str)
def test_any_size_gives_finite_outputs_of_its_size(
    make_backbone: Callable[..., Backbone], variant: str, case: Case
) -> None:
    check(make_backbone(**VARIANTS[variant]), case)


@pytest.mark.parametrize("variant", ["nano", "fine windows"])
def test_a_large_image_gives_finite_outputs_of_its_size(make_backbone: Callable[..., Backbone], variant: str) -> None:
    check(make_backbone(**VARIANTS[variant]), LARGE[0])


@pytest.mark.slow
@each_variant
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_any_large_size_gives_finite_outputs_of_its_size(
    make_backbone: Callable[..., Backbone], variant: str, case: Case
) -> None:
    check(make_backbone(**VARIANTS[variant]), case)


def test_cases_cover_what_they_should() -> None:
    for cases in (SMALL, LARGE):
        for choice in ("bf16", "training", "channels_last"):
            assert {getattr(case, choice) for case in cases} == {True, False}
        assert {case.batch for case in cases} == {1, 2, 3}
        assert any(case.height % 8 and case.width % 8 for case in cases)


def circular(make_backbone: Callable[..., Backbone], **changes: Any) -> Backbone:
    """A backbone in double precision that has neither borders nor prompts that are tied to places."""
    backbone = make_backbone(**changes).double()
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            layer.padding_mode = "circular"
        if isinstance(layer, ToneHead):
            layer.between_cells = partial(between_cells_around, layer)  # type: ignore[method-assign]
    for maps in prompts(backbone):
        maps.copy_(maps.mean(dim=(2, 3), keepdim=True).expand_as(maps))
    return backbone


def between_cells_around(head: ToneHead, tone: Tensor) -> Tensor:
    """As :meth:`ToneHead.between_cells`, on a torus."""
    cell_px = head.cell_px
    spread = ToneHead.between_cells(head, F.pad(tone, (1, 1, 1, 1), mode="circular"))
    return spread[..., cell_px:-cell_px, cell_px:-cell_px]


def prompts(backbone: Backbone) -> list[Tensor]:
    """The learned maps of the prompts."""
    return [layer.components.data for layer in backbone.modules() if isinstance(layer, PromptGeneration)]


def rolled(image: Tensor, down_px: int, right_px: int) -> Tensor:
    return image.roll((down_px, right_px), dims=(2, 3))


def difference(backbone: Backbone, image: Tensor, down_px: int, right_px: int) -> float:
    """By how much restoring what was moved differs from moving what was restored."""
    with torch.no_grad():
        moved = backbone(rolled(image, down_px, right_px)) - rolled(backbone(image), down_px, right_px)
    return moved.abs().max().item()


@pytest.mark.parametrize(
    "changes",
    [
        {"unshuffle": 1},
        {"unshuffle": 2},
        {"unshuffle": 1, "prompts": 0},
        {"unshuffle": 2, "gain": False, "centred_norm": False},
        {"unshuffle": 1, "window_px": 2},
        {"unshuffle": 1, "window_px": 4},
        {"unshuffle": 2, "window_px": 2, "prompts": 0},
    ],
    ids=str,
)
def test_without_borders_what_is_moved_by_the_stride_is_restored_the_same(
    make_backbone: Callable[..., Backbone], changes: dict[str, Any]
) -> None:
    backbone = circular(make_backbone, **changes)
    stride_px = backbone.window_stride_px
    assert stride_px == 8 * changes["unshuffle"] * changes.get("window_px", 1)
    image = torch.rand(1, 3, 64, 64 + stride_px, dtype=torch.float64)
    for down_px, right_px in ((stride_px, 0), (0, -stride_px), (2 * stride_px, 3 * stride_px)):
        assert difference(backbone, image, down_px, right_px) < 1e-5
    # Half of it is not enough.
    for down_px, right_px in ((stride_px // 2, 0), (0, stride_px // 2)):
        assert difference(backbone, image, down_px, right_px) > 1e-4


def test_prompts_are_tied_to_places(make_backbone: Callable[..., Backbone]) -> None:
    backbone, image = circular(make_backbone, unshuffle=1), torch.rand(1, 3, 64, 64, dtype=torch.float64)
    assert difference(backbone, image, 8, 0) < 1e-5
    for maps in prompts(backbone):
        maps.add_(torch.rand_like(maps))
    assert difference(backbone, image, 8, 0) > 1e-4
