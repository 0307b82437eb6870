"""Traces that codecs leave in a whole image: the grid of JPEG's blocks, and the empty levels of too few bits."""

import math

import torch
from torch import Tensor

_BLOCK_PX = 8
_BITS_LOST = (1, 2, 3, 4, 5)
_LARGEST_STEP = 1 / 16
"""Between neighbours: what is larger is an edge of the scene and says nothing about the grid."""

CODEC_TRACES = 2 + len(_BITS_LOST)
"""Number of values that :func:`codec_traces` gives."""


def codec_traces(image: Tensor) -> Tensor:
    """What crops are too small to show for certain, and a network learns late.

    Args:
        image: ``(B, 3, H, W)`` RGB in [0, 1], any size.

    Returns:
        ``(B, 7)`` float32: how much the steps between neighbouring columns, and rows, are larger at one of the eight
        places of a grid than on average, as a logarithm (after Fan & de Queiroz, Identification of Bitmap Compression
        History, IEEE TIP 2003); and for 1 to 5 lost bits, how much 8-bit values are multiples of their step, 1 if all
        are and about 0 in other images.
    """
    pixels = image.float()
    return torch.cat((_grid(pixels), _grid(pixels.transpose(2, 3)), _empty_levels(pixels)), dim=1)


def _grid(pixels: Tensor) -> Tensor:
    """``(B, 1)`` of the grid's vertical lines; 0 where an image is narrower than two blocks."""
    steps = pixels.diff(dim=3).abs().mean(dim=1).clamp_max(_LARGEST_STEP).mean(dim=1)
    blocks = steps.shape[1] // _BLOCK_PX
    if blocks < 2:
        return pixels.new_zeros(len(pixels), 1)
    at_place = steps[:, : blocks * _BLOCK_PX].unflatten(1, (blocks, _BLOCK_PX)).mean(dim=1) + 1e-4
    return (at_place.amax(dim=1, keepdim=True) / at_place.mean(dim=1, keepdim=True)).log()


def _empty_levels(pixels: Tensor) -> Tensor:
    """``(B, 5)``; black and white are multiples of any step and do not count."""
    levels = pixels * 255.0
    inside = ((levels > 0.5) & (levels < 254.5)).float()
    count = inside.sum(dim=(1, 2, 3)) + 1.0
    combs = [((levels * (math.tau / 2**lost)).cos() * inside).sum(dim=(1, 2, 3)) / count for lost in _BITS_LOST]
    return torch.stack(combs, dim=1)
