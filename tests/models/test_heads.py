import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.heads import SegmentationHead

DIMS = (4, 8, 16, 32)
depths = pytest.mark.parametrize("blocks", [0, 1, 2])


def features(batch: int = 2, side: int = 8) -> list[Tensor]:
    return [torch.randn(batch, dim, side >> level, side >> level) for level, dim in enumerate(DIMS)]


@depths
@pytest.mark.parametrize("size", [(16, 16), (8, 8), (24, 40)])
def test_logits_have_the_size_of_the_image(size: tuple[int, int], blocks: int) -> None:
    assert SegmentationHead(DIMS, hidden=8, blocks=blocks, labels=6)(features(), size).shape == (2, 6, *size)


@depths
def test_every_level_and_every_parameter_takes_part(blocks: int) -> None:
    head = SegmentationHead(DIMS, hidden=8, blocks=blocks, labels=3)
    levels = [level.requires_grad_() for level in features()]
    head(levels, (16, 16)).square().sum().backward()
    gradients = [*(level.grad for level in levels), *(parameter.grad for parameter in head.parameters())]
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_without_blocks_levels_are_projected_added_and_classified() -> None:
    head, levels = SegmentationHead(DIMS, hidden=8, blocks=0, labels=3), features()
    convolutions = [layer for layer in head.project.modules() if isinstance(layer, nn.Conv2d)]
    finest, *coarser = (convolution(level) for convolution, level in zip(convolutions, levels, strict=True))
    total = coarser[2]
    for level in (coarser[1], coarser[0], finest):
        total = level + F.interpolate(total, scale_factor=2.0, mode="bilinear")
    expected = F.interpolate(head.classify(head.mix(total)), (16, 16), mode="bilinear")
    torch.testing.assert_close(head(levels, (16, 16)), expected)


def test_silent_blocks_change_nothing() -> None:
    plain, deep = (SegmentationHead(DIMS, hidden=8, blocks=blocks, labels=3) for blocks in (0, 2))
    # The projection of a level comes after its blocks.
    state = {re.sub(r"^(project\.\d)\.0\.", r"\1.2.", name): value for name, value in plain.state_dict().items()}
    loaded = deep.load_state_dict(state, strict=False)
    assert loaded.unexpected_keys == []
    levels = features()
    assert not torch.allclose(deep(levels, (16, 16)), plain(levels, (16, 16)))
    silenced = [value for name, value in deep.named_parameters() if ".conv2." in name]
    assert len(silenced) == 2 * 2 * len(DIMS)
    for parameter in silenced:
        nn.init.zeros_(parameter)
    torch.testing.assert_close(deep(levels, (16, 16)), plain(levels, (16, 16)))


def test_a_missing_level_is_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        SegmentationHead(DIMS, hidden=8, blocks=0, labels=3)(features()[:3], (16, 16))
