"""Layers of the restoration network, in the terms of Restormer (Zamir et al., CVPR 2022).

All of them take and give ``(B, C, H, W)`` and are written for channels-last memory, where the permutations below
are views and not copies.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel.

    Args:
        dim: Number of channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return normed.permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """Multi-Dconv head transposed attention, MDTA (Restormer, eq. 1): attention between channels, not pixels.

    Args:
        dim: Number of channels C.
        heads: Number of heads; divides ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, dim * 3, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(dim * 3, dim * 3, 3, padding=1, groups=dim * 3, bias=False)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv_dwconv(self.qkv(x)).permute(0, 2, 3, 1).reshape(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, c) each
        # The norms divide the small Gram matrix instead of the pixels.
        scale = self.temperature / (_column_norms(q).unsqueeze(-1) * _column_norms(k).unsqueeze(-2))
        attention = (q.transpose(-2, -1) @ k * scale).softmax(dim=-1)
        mixed = v @ attention.transpose(-2, -1)
        mixed = mixed.permute(0, 2, 1, 3).reshape(b, h, w, c).permute(0, 3, 1, 2)
        return self.project_out(mixed)


def _column_norms(x: Tensor) -> Tensor:
    """Euclidean norm over the pixels of ``(B, heads, N, c)``, as ``F.normalize`` bounds it below, in float32."""
    return torch.linalg.vector_norm(x, dim=-2, dtype=torch.float32).clamp_min(1e-12)


class WindowAttention(nn.Module):
    """Spatial self-attention inside square windows, beside the channel attention (paper, section on the baseline).

    Args:
        dim: Number of channels C.
        heads: Number of heads; divides ``dim``.
        window_px: Side of a window in pixels of this level; images are zero-padded to a multiple.
    """

    def __init__(self, dim: int, heads: int, window_px: int) -> None:
        super().__init__()
        self.heads = heads
        self.window_px = window_px
        self.qkv = nn.Conv2d(dim, dim * 3, 1, bias=False)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=False)
        self.position_bias = nn.Parameter(torch.zeros(heads, (2 * window_px - 1) ** 2))
        axis = torch.arange(window_px)
        offset = axis[:, None] - axis[None, :] + window_px - 1
        index = offset[:, None, :, None] * (2 * window_px - 1) + offset[None, :, None, :]
        self.register_buffer("position_index", index.reshape(window_px**2, window_px**2), persistent=False)
        self.position_index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        side = self.window_px
        padded = F.pad(x, (0, -w % side, 0, -h % side))
        rows, columns = padded.shape[2] // side, padded.shape[3] // side
        qkv = self.qkv(padded).permute(0, 2, 3, 1)
        qkv = qkv.reshape(b, rows, side, columns, side, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, b * rows * columns, self.heads, side**2, -1)
        bias = self.position_bias[:, self.position_index].to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        mixed = mixed.reshape(b, rows, columns, self.heads, side, side, -1).permute(0, 1, 4, 2, 5, 3, 6)
        mixed = mixed.reshape(b, rows * side, columns * side, c)[:, :h, :w].permute(0, 3, 1, 2)
        return self.project_out(mixed)


class GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network, GDFN (Restormer, eq. 2).

    Args:
        dim: Number of channels C.
        expansion: Width of each of the two branches, as a multiple of ``dim``.
    """

    def __init__(self, dim: int, expansion: float) -> None:
        super().__init__()
        hidden = int(dim * expansion)
        self.project_in = nn.Conv2d(dim, hidden * 2, 1, bias=False)
        self.dwconv = nn.Conv2d(hidden * 2, hidden * 2, 3, padding=1, groups=hidden * 2, bias=False)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class RestorationBlock(nn.Module):
    """Channel attention, optional window attention, and feed-forward, each on a normalised residual branch.

    Args:
        dim: Number of channels C.
        heads: Number of attention heads; divides ``dim``.
        expansion: Width of the feed-forward branches, as a multiple of ``dim``.
        window_px: Side of the window attention; 0 leaves it out.
    """

    def __init__(self, dim: int, heads: int, expansion: float, window_px: int = 0) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(dim)
        self.attn = ChannelAttention(dim, heads)
        self.spatial_norm = ChannelNorm(dim) if window_px else None
        self.spatial_attn = WindowAttention(dim, heads, window_px) if window_px else None
        self.norm2 = ChannelNorm(dim)
        self.ffn = GatedFeedForward(dim, expansion)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        if self.spatial_norm is not None and self.spatial_attn is not None:
            x = x + self.spatial_attn(self.spatial_norm(x))
        return x + self.ffn(self.norm2(x))


class Downsample(nn.Sequential):
    """Halve the resolution, double the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Conv2d(dim, dim // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


class Upsample(nn.Sequential):
    """Double the resolution, halve the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Conv2d(dim, dim * 2, 3, padding=1, bias=False), nn.PixelShuffle(2))
