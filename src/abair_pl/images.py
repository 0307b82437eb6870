"""Image files in and out: RGB float inside, everything else about the file kept."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from abair_pl.data.decode import IMAGE_SUFFIXES, check_pixels
from abair_pl.errors import ImageError

_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF"}


@dataclass(frozen=True)
class Photograph:
    """An image file's pixels, and what goes with them.

    Attributes:
        pixels: ``(3, H, W)`` float32 RGB in [0, 1], upright (the EXIF orientation has been applied).
        alpha: ``(H, W)`` in [0, 1], or None for an opaque image.
        icc_profile: The embedded colour profile, or None.
        exif: The EXIF block without the orientation, which has been applied, or None.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None


def find_images(inputs: list[Path]) -> list[Path]:
    """The image files among files and folders, in order.

    Raises:
        ImageError: An input does not exist, or a folder has no images.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower().lstrip(".") in IMAGE_SUFFIXES)
            if not inside:
                message = f"{path} has no images; expected files named {', '.join(IMAGE_SUFFIXES)}"
                raise ImageError(message)
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            message = f"no image at {path}; expected a file or a folder"
            raise ImageError(message)
    return found


def read_photograph(path: Path) -> Photograph:
    """Read an image file.

    Raises:
        ImageError: It is no image, is cut short or animated, or holds too many pixels.
    """
    try:
        with Image.open(path) as image:
            check_pixels(image, str(path))
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format == "GIF":
                message = f"{path}: an animation of {frames} frames; expected a single image"
                raise ImageError(message)
            icc_profile = image.info.get("icc_profile")
            upright = ImageOps.exif_transpose(image)
            exif = upright.getexif().tobytes() or None
            alpha = None
            if "A" in upright.getbands() or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                alpha = _to_tensor(upright.getchannel("A"))
            return Photograph(_to_tensor(_to_rgb(upright)).permute(2, 0, 1), alpha, icc_profile, exif)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        message = f"{path}: not a readable image ({reason}); expected one of {', '.join(IMAGE_SUFFIXES)}"
        raise ImageError(message) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits or more, which convert() would clip
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else 1.0
        image = Image.fromarray(np.round(np.clip(values / top, 0.0, 1.0) * 255.0).astype(np.uint8))
    return image.convert("RGB")


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).float() / 255.0


def to_8bit(pixels: Tensor) -> Image.Image:
    """An 8-bit RGB image from ``(3, H, W)`` in [0, 1]."""
    values = (pixels.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return Image.fromarray(values.permute(1, 2, 0).cpu().numpy())


def write_photograph(photograph: Photograph, path: Path) -> None:
    """Write an image file of 8 bits a channel, in one step: a reader never sees half of it.

    Raises:
        ImageError: The suffix is not of a format that can be written.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in _FORMATS:
        message = f"cannot write {path}; expected a suffix of {', '.join(_FORMATS)}"
        raise ImageError(message)
    image = to_8bit(photograph.pixels)
    if photograph.alpha is not None and suffix not in ("jpg", "jpeg"):
        alpha = (photograph.alpha * 255.0).round().to(torch.uint8).cpu().numpy()
        image.putalpha(Image.fromarray(alpha))
    extras = {"icc_profile": photograph.icc_profile, "exif": photograph.exif}
    options = {name: value for name, value in extras.items() if value is not None}
    quality = {"quality": 95, "subsampling": 0} if suffix in ("jpg", "jpeg") else {}
    partial = path.with_name(f".{path.name}.partial")
    try:
        image.save(partial, _FORMATS[suffix], **options, **quality)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
