"""What an image looks like after JPEG, without the file (ITU-T T.81; tables of its Annex K, scaled as libjpeg does)."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from abair_pl.degradations.transfer import constant

_BLOCK = 8
_LUMA = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
_CHROMA = """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
"""
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg_round_trip(image: Tensor, quality: Tensor) -> Tensor:
    """Compress and decompress.

    Args:
        image: ``(B, 3, H, W)`` RGB in [0, 1].
        quality: ``(B,)`` libjpeg's quality, 1 to 100.

    Returns:
        ``(B, 3, H, W)``, multiples of 1/255.
    """
    height, width = image.shape[2:]
    pixels = F.pad(image * 255.0, (0, -width % 16, 0, -height % 16), mode="replicate").round_()
    luma, chroma = _mixed(pixels, _TO_YCC).round_().split((1, 2), dim=1)
    scale = torch.where(quality < 50, (5000.0 / quality).floor(), 200.0 - 2.0 * quality)
    luma = _quantized(luma - 128.0, _table(_LUMA, scale)) + 128.0
    small = F.avg_pool2d(chroma, 2).round_()
    chroma = _upsampled(_quantized(small, _table(_CHROMA, scale)))
    restored = _mixed(torch.cat((luma, chroma), dim=1).round_(), _TO_RGB)
    return restored[:, :, :height, :width].round().clamp_(0.0, 255.0) / 255.0


def _mixed(pixels: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    weights = constant(matrix, pixels.device)
    return (weights[:, :, None, None] * pixels[:, None]).sum(dim=2)


def _table(text: str, scale: Tensor) -> Tensor:
    """Quantisation tables ``(B, 1, 1, 8, 1, 8)`` of a quality's scale in per cent."""
    table = constant(tuple(map(float, text.split())), scale.device)
    steps = ((scale[:, None] * table + 50.0) / 100.0).floor().clamp(1.0, 255.0)
    return steps.view(-1, 1, 1, _BLOCK, 1, _BLOCK)


@lru_cache(maxsize=8)
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal DCT-II as a matrix ``(frequency, position)``."""
    index = torch.arange(_BLOCK, dtype=torch.float64)
    matrix = torch.cos(math.pi / _BLOCK * (index + 0.5) * index[:, None]) * math.sqrt(2 / _BLOCK)
    matrix[0] *= math.sqrt(0.5)
    return matrix.float().to(device)


def _quantized(plane: Tensor, steps: Tensor) -> Tensor:
    """Planes ``(B, C, H, W)`` around 0, through the DCT of their 8 x 8 blocks and back to 8 bits."""
    cosines = _cosines(plane.device)
    batch, channels, height, width = plane.shape
    rows = cosines @ plane.reshape(-1, _BLOCK, width)  # along the columns of each row of blocks
    coefficients = rows.view(-1, _BLOCK) @ cosines.T  # along the rows of each block
    shape = (batch, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    kept = coefficients.view(shape).div_(steps).round_().mul_(steps)
    rows = kept.view(-1, _BLOCK) @ cosines
    return (cosines.T @ rows.view(-1, _BLOCK, width)).view(plane.shape).round_().clamp_(-128.0, 127.0)


def _upsampled(plane: Tensor) -> Tensor:
    """Twice the size by libjpeg's triangle filter, 3/4 of the nearer and 1/4 of the farther neighbour."""
    return F.interpolate(plane, scale_factor=2, mode="bilinear", align_corners=False)
