"""Layers of the restoration network, in the terms of Restormer (Zamir et al., CVPR 2022).

All of them take and give ``(B, C, H, W)`` and are written for channels-last memory, where the permutations below
are views and not copies. Normalisation accumulates in float32 whatever the autocast.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.whole_image import PoolingLayer

_NORM_EPSILON = 1e-5


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel.

    Args:
        dim: Number of channels C.
        centred: Subtract the mean and add a bias. Without, only the deviation is divided by, as in the checkpoints of
            Restormer that were trained with ``BiasFree`` norms.
    """

    def __init__(self, dim: int, centred: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if centred else None

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)
        if self.bias is None:
            deviation = (pixels.float().var(dim=-1, keepdim=True, correction=0) + _NORM_EPSILON).sqrt()
            normed = (pixels / deviation).to(x.dtype) * self.weight.to(x.dtype)
        else:
            normed = F.layer_norm(pixels, self.weight.shape, self.weight, self.bias, _NORM_EPSILON)
        return normed.permute(0, 3, 1, 2)


class ChannelAttention(PoolingLayer):
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
        pixels = self.qkv_dwconv(self.qkv(x)).permute(0, 2, 3, 1).flatten(1, 2)
        q, k, v = pixels.unflatten(2, (3, self.heads, c // self.heads)).permute(2, 0, 3, 1, 4).unbind()
        products, q_squares, k_squares = self.pool(lambda counts: _products(q, k, counts), x)
        # The norms divide the small matrix of products instead of the pixels.
        scale = q_squares.rsqrt().unsqueeze(-1) * k_squares.rsqrt().unsqueeze(-2)
        attention = (products * self.temperature * scale).softmax(dim=-1).to(v.dtype)
        mixed = v @ attention.transpose(-2, -1)
        mixed = mixed.permute(0, 2, 1, 3).reshape(b, h, w, c).permute(0, 3, 1, 2)
        return self.project_out(mixed)


def _products(q: Tensor, k: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Products of the channels of ``(B, heads, N, c)`` summed over the pixels, and their squared norms in float32.

    The norms are bounded below as ``F.normalize`` does it. The scale of all three together does not matter.

    Args:
        q: Queries.
        k: Keys.
        counts: ``(B, 1, h, w)``, how much each pixel counts; None for all the same.

    Returns:
        ``(B, heads, c, c)`` and twice ``(B, heads, c)``.
    """
    if counts is not None:
        root = counts.flatten(2)[..., None].sqrt()
        q, k = q.float() * root, k.float() * root
    q_squares, k_squares = (x.float().square().sum(dim=-2).clamp_min(1e-24) for x in (q, k))
    return q.transpose(-2, -1) @ k, q_squares, k_squares


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
        rows, columns = (h + side - 1) // side, (w + side - 1) // side
        qkv = F.pad(self.qkv(x), (0, columns * side - w, 0, rows * side - h)).permute(0, 2, 3, 1)
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
        centred_norm: As in :class:`ChannelNorm`.
    """

    def __init__(self, dim: int, heads: int, expansion: float, window_px: int = 0, centred_norm: bool = True) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(dim, centred_norm)
        self.attn = ChannelAttention(dim, heads)
        self.spatial_norm = ChannelNorm(dim, centred_norm) if window_px else None
        self.spatial_attn = WindowAttention(dim, heads, window_px) if window_px else None
        self.norm2 = ChannelNorm(dim, centred_norm)
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
