"""Prompt blocks in the decoder, in the terms of PromptIR (Potlapalli et al., NeurIPS 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.layers import RestorationBlock
from abair_pl.models.presets import BackboneConfig
from abair_pl.models.whole_image import PoolingLayer, pixel_mean


class PromptGeneration(PoolingLayer):
    """Learned feature maps, mixed by weights that the features themselves choose (PromptIR, eq. 3).

    Args:
        dim: Channels of the features.
        prompt_dim: Channels of the prompt.
        prompts: How many maps there are to mix.
        size_px: Side of the learned maps; they are stretched over the image.
    """

    def __init__(self, dim: int, prompt_dim: int, prompts: int, size_px: int) -> None:
        super().__init__()
        self.components = nn.Parameter(torch.rand(prompts, prompt_dim, size_px, size_px))
        self.weights = nn.Linear(dim, prompts)
        self.conv = nn.Conv2d(prompt_dim, prompt_dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        (mean,) = self.pool(lambda counts: (pixel_mean(x, counts),), x)
        prompt = torch.einsum("bp,pchw->bchw", self.weights(mean).softmax(dim=1), self.components)
        size = (x.shape[2], x.shape[3])
        if self.whole is None:
            return self.conv(F.interpolate(prompt, size, mode="bilinear"))
        return self.conv(_parts(prompt.float(), size, self.whole.areas.to(x.device)).to(x.dtype))


def _parts(image: Tensor, size: tuple[int, int], areas: Tensor) -> Tensor:
    """Parts of what ``F.interpolate(..., mode="bilinear")`` would stretch over a whole image.

    Args:
        image: ``(1, C, S, S)``.
        size: ``(h, w)`` of each part.
        areas: ``(B, 4)`` top, left, bottom and right of the parts, as fractions of the whole.

    Returns:
        ``(B, C, h, w)``.
    """
    rows = _interpolation(areas[:, 0], areas[:, 2], size[0], image.shape[2])
    columns = _interpolation(areas[:, 1], areas[:, 3], size[1], image.shape[3])
    return torch.einsum("bhs,cst,bwt->bchw", rows, image[0], columns)


def _interpolation(start: Tensor, end: Tensor, count: int, size: int) -> Tensor:
    """Matrices ``(B, count, size)`` that interpolate between the centres of pixels, linearly, and hold at the ends."""
    steps = (torch.arange(count, device=start.device) + 0.5) / count
    centres = (start[:, None] + (end - start)[:, None] * steps) * size - 0.5
    distance = centres.clamp(0.0, size - 1.0)[..., None] - torch.arange(size, device=start.device)
    return (1.0 - distance.abs()).clamp_min(0.0)


class PromptBlock(nn.Module):
    """Let a prompt interact with features, and bring the result to the width of what follows.

    Args:
        architecture: The sizes of the network.
        level: The level of the decoder that follows, 0 the finest.
        dim: Channels of the features.
        out: Channels of the result.
    """

    def __init__(self, architecture: BackboneConfig, level: int, dim: int, out: int) -> None:
        super().__init__()
        prompt_dim, size_px = architecture.prompt_dims[level], architecture.prompt_sizes_px[level]
        self.generate = PromptGeneration(dim, prompt_dim, architecture.prompts, size_px)
        self.interact = RestorationBlock(
            dim + prompt_dim, architecture.heads[2], architecture.expansion, centred_norm=architecture.centred_norm
        )
        self.reduce = nn.Conv2d(dim + prompt_dim, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(self.interact(torch.cat((x, self.generate(x)), dim=1)))
