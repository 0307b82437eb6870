"""Prompt blocks in the decoder, in the terms of PromptIR (Potlapalli et al., NeurIPS 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.layers import RestorationBlock


class PromptGeneration(nn.Module):
    """Learned feature maps, mixed by weights that the features themselves choose (PromptIR, eq. 3).

    Args:
        dim: Channels of the features.
        prompt_dim: Channels of the prompt.
        prompts: How many maps there are to mix.
        size_px: Side of the learned maps; they are resized to the features.
    """

    def __init__(self, dim: int, prompt_dim: int, prompts: int, size_px: int) -> None:
        super().__init__()
        self.components = nn.Parameter(torch.rand(prompts, prompt_dim, size_px, size_px))
        self.weights = nn.Linear(dim, prompts)
        self.conv = nn.Conv2d(prompt_dim, prompt_dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weights(x.mean(dim=(2, 3))).softmax(dim=1)
        prompt = torch.einsum("bp,pchw->bchw", weights, self.components)
        return self.conv(F.interpolate(prompt, x.shape[2:], mode="bilinear"))


class PromptBlock(nn.Module):
    """Let a prompt interact with features, and bring the result back to the features' width.

    Args:
        dim: Channels of the features, in and out.
        prompt_dim: Channels of the prompt.
        prompts: How many maps there are to mix.
        size_px: Side of the learned maps.
        heads: Attention heads of the interaction; divides ``dim + prompt_dim``.
        expansion: Width of its feed-forward branches.
        window_px: Side of its window attention; 0 leaves it out.
    """

    def __init__(
        self, dim: int, prompt_dim: int, prompts: int, size_px: int, heads: int, expansion: float, window_px: int
    ) -> None:
        super().__init__()
        self.generate = PromptGeneration(dim, prompt_dim, prompts, size_px)
        self.interact = RestorationBlock(dim + prompt_dim, heads, expansion, window_px)
        self.reduce = nn.Conv2d(dim + prompt_dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(self.interact(torch.cat((x, self.generate(x)), dim=1)))
