"""An image file's content."""

from dataclasses import dataclass
from os import PathLike
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from abair_pl.errors import ImageError

_STRIP_ROWS = 256


@dataclass(frozen=True)
class Photograph:
    """An image file's pixels, and what goes with them.

    Attributes:
        pixels: ``(3, H, W)`` float32 RGB in [0, 1], upright (the EXIF orientation has been applied); of a grey image,
            three equal channels.
        alpha: ``(H, W)`` in [0, 1], or None for an opaque image.
        icc_profile: The embedded colour profile, or None where there is none for what the pixels are, RGB or grey.
        exif: The EXIF block, or None where there is none or a damaged one; without the orientation, which has been
            applied, and without tags on how the file stored its pixels.
        grey: It is grey, and is written as such.
        bits: Of a channel in the file; it is written with as many where the format has them.
        notes: What reading has changed, a phrase each, for the user to know.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    grey: bool = False
    bits: Literal[8, 16] = 8
    notes: tuple[str, ...] = ()


def to_8bit(pixels: Tensor) -> Image.Image:
    """An 8-bit RGB image from ``(3, H, W)`` in [0, 1]."""
    # In strips, since a float copy of a large photograph takes four times the memory of its bytes.
    strips = [(strip.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8) for strip in pixels.split(_STRIP_ROWS, dim=1)]
    return Image.fromarray(torch.cat(strips, dim=1).permute(1, 2, 0).cpu().contiguous().numpy())


def to_pixels(image: Image.Image | NDArray[np.uint8] | NDArray[np.uint16] | Tensor) -> Tensor:
    """``(3, H, W)`` float32 RGB in [0, 1] from an image in memory.

    Args:
        image: A PIL image, ``(H, W, 3)`` 8-bit or 16-bit RGB, or ``(3, H, W)`` float RGB in [0, 1].

    Raises:
        ImageError: It has another shape or type.
    """
    if isinstance(image, str | PathLike):
        message = f"{image} is a path; expected an image in memory: open it with PIL.Image.open"
        raise ImageError(message)
    if 0 in (image.size if isinstance(image, Image.Image) else image.shape):
        message = "an image without pixels; expected at least 1 a side"
        raise ImageError(message)
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
            message = f"array of shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8 or uint16 RGB"
            raise ImageError(message)
        values = image.astype(np.float32)  # a copy, for the array may be read-only or flipped
        return torch.from_numpy(values).permute(2, 0, 1).div_(float(np.iinfo(image.dtype).max))
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        message = f"tensor of shape {tuple(image.shape)} and type {image.dtype}; expected (3, H, W) float RGB in [0, 1]"
        raise ImageError(message)
    return image.float()
