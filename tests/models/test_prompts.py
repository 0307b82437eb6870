import torch
import torch.nn.functional as F

from abair_pl.models.prompts import PromptBlock, PromptGeneration


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


def test_prompt_block_keeps_the_width_and_trains_every_parameter() -> None:
    block = PromptBlock(dim=8, prompt_dim=4, prompts=2, size_px=4, heads=2, expansion=1.5, window_px=4)
    x = torch.randn(2, 8, 5, 7)
    y = block(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    unused = [name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []
