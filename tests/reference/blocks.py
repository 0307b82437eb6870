"""What Restormer and PromptIR are made of, in plain PyTorch and with the parameter names of the published checkpoints.

Written from the papers as a reference for parity tests and for ``make bench``: contiguous ``(B, C, H, W)``, every
formula spelled out as tensor operations, nothing fused.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Conv2d, Parameter, PixelShuffle, PixelUnshuffle, Sequential

WIDTH = 48
BLOCKS = (4, 6, 6, 8)
REFINEMENT = 4
HEADS = (1, 2, 4, 8)
EXPANSION = 2.66


def conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> Conv2d:
    """A convolution that keeps the size, without a bias, as all of both networks."""
    return Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)


class _Scale(nn.Module):
    """The learned part of a norm."""

    def __init__(self, channels: int, centred: bool) -> None:
        super().__init__()
        self.weight = Parameter(torch.ones(channels))
        self.bias = Parameter(torch.zeros(channels)) if centred else None


class Norm(nn.Module):
    """Layer norm over the channels of a pixel; not centred, it divides by the deviation and does no more."""

    def __init__(self, channels: int, centred: bool) -> None:
        super().__init__()
        self.body = _Scale(channels, centred)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2).transpose(1, 2)  # (B, HW, C)
        variance = pixels.var(dim=-1, keepdim=True, correction=0)
        if self.body.bias is None:
            normed = pixels / (variance + 1e-5).sqrt() * self.body.weight
        else:
            mean = pixels.mean(dim=-1, keepdim=True)
            normed = (pixels - mean) / (variance + 1e-5).sqrt() * self.body.weight + self.body.bias
        return normed.transpose(1, 2).unflatten(2, x.shape[2:])


class TransposedAttention(nn.Module):
    """MDTA: Restormer, eq. 1."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.temperature = Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv(channels, 3 * channels, 1)
        self.qkv_dwconv = conv(3 * channels, 3 * channels, 3, groups=3 * channels)
        self.project_out = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        heads = len(self.temperature)
        query, key, value = (
            part.flatten(2).unflatten(1, (heads, -1))  # (B, heads, C / heads, HW)
            for part in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        )
        scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT * self.temperature
        mixed = scores.softmax(dim=-1) @ value
        return self.project_out(mixed.reshape(x.shape))


class GatedFeedForward(nn.Module):
    """GDFN: Restormer, eq. 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = int(channels * EXPANSION)
        self.project_in = conv(channels, 2 * hidden, 1)
        self.dwconv = conv(2 * hidden, 2 * hidden, 3, groups=2 * hidden)
        self.project_out = conv(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class Block(nn.Module):
    """Attention, then feed-forward, each on a normalised residual branch."""

    def __init__(self, channels: int, heads: int, centred: bool = True) -> None:
        super().__init__()
        self.norm1 = Norm(channels, centred)
        self.attn = TransposedAttention(channels, heads)
        self.norm2 = Norm(channels, centred)
        self.ffn = GatedFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


def stack(level: int, channels: int, count: int, centred: bool = True) -> Sequential:
    """Blocks of a level, counted from 1."""
    return Sequential(*(Block(channels, HEADS[level - 1], centred) for _ in range(count)))


class Embedding(nn.Module):
    """The first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = conv(3, WIDTH, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image)


class _Resize(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Down(_Resize):
    """Half the resolution, twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(conv(channels, channels // 2, 3), PixelUnshuffle(2))


class Up(_Resize):
    """Twice the resolution, half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(conv(channels, 2 * channels, 3), PixelShuffle(2))
