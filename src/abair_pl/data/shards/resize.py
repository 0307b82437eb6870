"""Smaller images for shards: photographs and depth maps, the same bytes whenever Pillow and OpenCV are the same."""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_JPEG = ("jpg", "jpeg")


def limited(size_px: tuple[int, int], max_side_px: int | None) -> tuple[int, int]:
    """A height and width scaled so that the longer is at most a limit; as they are if they are within it.

    Examples:
        >>> limited((3000, 4000), 1000)
        (750, 1000)
        >>> limited((300, 400), 1000)
        (300, 400)
    """
    longer = max(size_px)
    if max_side_px is None or longer <= max_side_px:
        return size_px
    height, width = (max(round(side * max_side_px / longer), 1) for side in size_px)
    return height, width


def encode_scaled(photograph: NDArray[np.uint8], size_px: tuple[int, int], suffix: str) -> tuple[bytes, str]:
    """Scale a photograph down, see :func:`scale`.

    Args:
        photograph: ``(H, W, 3)`` 8-bit RGB.
        size_px: New height and width.
        suffix: Of the file it came from.

    Returns:
        The file's bytes and its suffix: a JPEG of quality 95 with full colour resolution for a JPEG, else a PNG.
    """
    scaled = Image.fromarray(scale(photograph, size_px))
    if suffix in _JPEG:
        return _encode(scaled, "JPEG", quality=95, subsampling=0), "jpg"
    return _encode(scaled, "PNG"), "png"


def encode_scaled_depth(depth: NDArray[np.float32], size_px: tuple[int, int]) -> bytes:
    """Scale a depth map, ``(H, W)`` in [0, 1], down; a PNG of 16 bits."""
    scaled = scale_depth(depth, size_px)
    return _encode(Image.fromarray(np.round(scaled * 65535.0).astype(np.uint16)), "PNG")


def scale(photograph: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a photograph, ``(H, W, 3)`` 8-bit RGB, down with Lanczos' filter over all pixels that a new one covers."""
    return np.asarray(Image.fromarray(photograph).resize(size_px[::-1], Image.Resampling.LANCZOS))


def scale_depth(depth: NDArray[np.float32], size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Scale a depth map, ``(H, W)`` in [0, 1], down by the mean over the area of a new pixel."""
    return np.asarray(cv2.resize(depth, size_px[::-1], interpolation=cv2.INTER_AREA), dtype=np.float32)


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
