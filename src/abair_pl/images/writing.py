"""Image files out."""

import errno
import io
import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from abair_pl.atomic import published
from abair_pl.errors import AbairError, ImageError
from abair_pl.images.metadata import profile_for
from abair_pl.images.photograph import Photograph, to_8bit
from abair_pl.images.sixteen_bit import encode_png, write_tiff

DEFAULT_QUALITY = 95
LOSSY = ("JPEG", "WEBP")
_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF"}
_DEEP = ("PNG", "TIFF")
_OF_THE_NAME = (errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR)
"""Errors of one file, and not of the disk that all are written to."""


MOST_PX = {"JPEG": 65_500, "WEBP": 16_383}
"""The longest side that a format takes; PNG and TIFF take any."""


def format_of(suffix: str) -> str | None:
    """PIL's name of the format that files of a suffix such as ``.jpg`` have; None where it cannot be written."""
    return _FORMATS.get(suffix.lower().lstrip("."))


def check_size(photograph: Photograph, suffix: str) -> None:
    """Refuse, before any work is done, what is too long for a format.

    Args:
        photograph: What is to be written.
        suffix: Of a file of the format, such as ``png``.

    Raises:
        ImageError: It has a longer side than the format takes.
    """
    height, width = photograph.pixels.shape[1:]
    kind = format_of(suffix) or ""
    if max(height, width) > MOST_PX.get(kind, max(height, width)):
        message = f"{width} x {height} pixels; {kind} takes up to {MOST_PX[kind]} a side: choose another --format"
        raise ImageError(message)


def write_photograph(photograph: Photograph, path: Path, quality: int = DEFAULT_QUALITY) -> None:
    """Write an image file, in one step: a reader never sees half of it.

    Grey stays grey but in WebP, and 16 bits a channel stay in PNG and TIFF.

    Args:
        photograph: What to write.
        path: The file, whose suffix tells the format.
        quality: Of JPEG and WebP, 1 to 100.

    Raises:
        ImageError: The suffix is not of a format that can be written, or there can be no file of this name.
        AbairError: The file cannot be written.
    """
    kind = format_of(path.suffix)
    if kind is None:
        message = f"cannot write {path}; expected a suffix of {', '.join(_FORMATS)}"
        raise ImageError(message)
    check_size(photograph, path.suffix)
    try:
        with published(path) as partial:
            _save(photograph, partial, kind, quality)
    except (ValueError, struct.error) as error:
        message = f"cannot write {path} ({error}); choose another --format"
        raise ImageError(message) from error
    except OSError as error:
        if error.errno in _OF_THE_NAME:
            message = f"cannot write {path} ({error.strerror}); rename the photograph, or choose another --output"
            raise ImageError(message) from error
        message = f"cannot write {path} ({error.strerror or error}); make room, or choose another --output"
        raise AbairError(message) from error


def encode_photograph(photograph: Photograph, suffix: str, quality: int = DEFAULT_QUALITY) -> bytes:
    """The bytes of an image file.

    Args:
        photograph: What to write.
        suffix: Of a file of the format, such as ``png``.
        quality: Of JPEG and WebP, 1 to 100.

    Raises:
        ImageError: The format does not take it.
    """
    check_size(photograph, suffix)
    stream = io.BytesIO()
    try:
        _save(photograph, stream, _FORMATS[suffix], quality)
    except (ValueError, struct.error, OSError) as error:
        message = f"cannot be written as {suffix} ({error}); choose another --format"
        raise ImageError(message) from error
    return stream.getvalue()


def _save(photograph: Photograph, file: Path | io.BytesIO, kind: str, quality: int) -> None:
    alpha = photograph.alpha if kind != "JPEG" else None
    if photograph.bits == 16 and kind in _DEEP and (alpha is not None or not photograph.grey):
        _save_deep(photograph, file, kind)
        return
    image = _image(photograph, kind)
    if alpha is not None:
        image.putalpha(Image.fromarray(_quantized(alpha, 255.0).astype(np.uint8)))
    as_grey = photograph.grey and kind != "WEBP"
    extras = {"icc_profile": profile_for(photograph.icc_profile, as_grey), "exif": photograph.exif}
    options = {name: value for name, value in extras.items() if value is not None}
    image.save(file, kind, **options, **_settings(kind, quality))


def _settings(kind: str, quality: int) -> dict[str, int]:
    if kind == "JPEG":
        return {"quality": quality, "subsampling": 0}
    return {"quality": quality} if kind in LOSSY else {}


def _image(photograph: Photograph, kind: str) -> Image.Image:
    """What PIL writes, without alpha."""
    if not photograph.grey:
        return to_8bit(photograph.pixels)
    shades = photograph.pixels.mean(dim=0)
    if photograph.bits == 16 and kind in _DEEP:
        return Image.fromarray(_quantized(shades, 65535.0))
    return Image.fromarray(_quantized(shades, 255.0).astype(np.uint8))


def _save_deep(photograph: Photograph, file: Path | io.BytesIO, kind: str) -> None:
    """Colours, or grey with alpha as such, of 16 bits a channel."""
    pixels = photograph.pixels
    if photograph.grey:
        pixels = pixels.mean(dim=0, keepdim=True).expand(3, -1, -1)
    channels = pixels if photograph.alpha is None else torch.cat((pixels, photograph.alpha[None]))
    samples = _quantized(channels.permute(1, 2, 0), 65535.0)
    profile = profile_for(photograph.icc_profile, grey=False)
    if kind == "TIFF":
        write_tiff(file, samples, profile, photograph.exif)
        return
    data = encode_png(samples, profile, photograph.exif)
    if isinstance(file, Path):
        file.write_bytes(data)
    else:
        file.write(data)


def _quantized(values: Tensor, top: float) -> NDArray[np.uint16]:
    """Values in [0, 1] as the nearest whole numbers up to a highest one."""
    return (values.clamp(0.0, 1.0) * top).round().to(torch.int32).cpu().numpy().astype(np.uint16)
