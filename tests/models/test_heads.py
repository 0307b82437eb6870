import pytest
import torch

from abair_pl.models.heads import SegmentationHead

DIMS = (4, 8, 16, 32)


def features(batch: int = 2, side: int = 8) -> list[torch.Tensor]:
    return [torch.randn(batch, dim, side >> level, side >> level) for level, dim in enumerate(DIMS)]


@pytest.mark.parametrize("size", [(16, 16), (8, 8), (24, 40)])
def test_logits_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    assert SegmentationHead(DIMS, hidden=8, labels=6)(features(), size).shape == (2, 6, *size)


def test_every_level_and_every_parameter_takes_part() -> None:
    head = SegmentationHead(DIMS, hidden=8, labels=3)
    levels = [level.requires_grad_() for level in features()]
    head(levels, (16, 16)).square().sum().backward()
    gradients = [*(level.grad for level in levels), *(parameter.grad for parameter in head.parameters())]
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_a_missing_level_is_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        SegmentationHead(DIMS, hidden=8, labels=3)(features()[:3], (16, 16))
