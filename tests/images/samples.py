"""What the tests of image files share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from abair_pl.images import Photograph

Save = Callable[..., Path]
ORIENTATION, MAKER = 274, 271
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (20, 30), dtype=np.uint8)
DEEP = np.random.default_rng(2).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
DEEP_ALPHA = np.random.default_rng(3).integers(0, 65536, (20, 30), dtype=np.uint16)
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:200:20j, 50:250:30j], 90), axis=2).astype(np.uint8)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_ICC = ICC[:16] + b"GRAY" + ICC[20:]


def exif_block(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKER] = "Maker"
    return exif


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """``(H, W, C)`` upright, as EXIF defines its orientations."""
    upright: dict[int, NDArray[Any]] = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }
    return upright[orientation]


def levels(photograph: Photograph, top: int = 255) -> NDArray[np.int64]:
    """Pixels as ``(H, W, 3)`` whole numbers up to ``top``."""
    return (photograph.pixels.double() * top).round().permute(1, 2, 0).numpy().astype(np.int64)


def off_by(photograph: Photograph, expected: NDArray[Any]) -> int:
    return int(np.abs(levels(photograph) - expected.astype(np.int64)).max())
