from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from abair_pl.models.presets import BackboneConfig
from abair_pl.models.prompts import PromptBlock, PromptGeneration
from abair_pl.models.whole_image import WholeImage


def test_prompt_is_the_mixture_that_the_features_choose() -> None:
    generate = PromptGeneration(dim=4, prompt_dim=3, prompts=2, size_px=4)
    x = torch.randn(2, 4, 6, 5)
    weights = F.softmax(generate.weights(x.mean(dim=(2, 3))), dim=1)
    mixed = torch.stack([w[0] * generate.components[0] + w[1] * generate.components[1] for w in weights])
    expected = generate.conv(F.interpolate(mixed, (6, 5), mode="bilinear"))
    torch.testing.assert_close(generate(x), expected)


def test_each_image_chooses_its_own_prompt() -> None:
    generate = PromptGeneration(dim=4, prompt_dim=3, prompts=2, size_px=4)
    x = torch.randn(2, 4, 6, 6)
    together = generate(x)
    assert not torch.allclose(together[0], together[1])
    torch.testing.assert_close(together[1:], generate(x[1:]))


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (4, 4), (8, 8), (13, 6)])
def test_the_prompt_of_the_whole_area_is_the_prompt_of_the_image(size: tuple[int, int]) -> None:
    generate, x = PromptGeneration(dim=4, prompt_dim=3, prompts=2, size_px=4), torch.randn(1, 4, *size)
    expected = generate(x)
    generate.whole = WholeImage()
    generate.whole.look_at(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1, 1, *size))
    torch.testing.assert_close(generate(x), expected)


def test_the_prompt_of_a_crop_is_a_crop_of_the_prompt() -> None:
    generate, x = PromptGeneration(dim=4, prompt_dim=3, prompts=2, size_px=5), torch.randn(1, 4, 12, 20)
    expected = generate(x)[..., 3:9, 10:20]
    generate.whole = WholeImage()
    generate.whole.look_at(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1, 1, 12, 20))
    generate(x)
    generate.whole.end_round(last=True)
    generate.whole.look_at(torch.tensor([[3 / 12, 10 / 20, 9 / 12, 1.0]]), torch.ones(1, 1, 6, 10))
    part = generate(torch.zeros(1, 4, 6, 10))  # of the crop, only the size counts
    # Beyond the crop, as beyond the image, the convolution sees zeros.
    torch.testing.assert_close(part[..., 1:-1, 1:], expected[..., 1:-1, 1:])
    assert not torch.allclose(part[..., 0], expected[..., 0])


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("out", [8, 16])
def test_prompt_block_gives_the_width_asked_for_and_trains_every_parameter(
    architecture: BackboneConfig, level: int, out: int
) -> None:
    sizes = replace(architecture, prompt_dims=(4, 6, 8), prompt_sizes_px=(7, 5, 3))
    block = PromptBlock(sizes, level, dim=8, out=out)
    assert block.generate.components.shape == (2, (4, 6, 8)[level], *[(7, 5, 3)[level]] * 2)
    y = block(torch.randn(2, 8, 5, 7))
    assert y.shape == (2, out, 5, 7)
    y.square().sum().backward()
    unused = [name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_prompt_block_has_the_norms_of_the_architecture(architecture: BackboneConfig) -> None:
    block = PromptBlock(replace(architecture, centred_norm=False), 0, dim=8, out=8)
    assert block.interact.norm1.bias is None
    assert block.interact.norm2.bias is None
