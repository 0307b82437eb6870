"""Image files in."""

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from abair_pl.data.decode import MAX_PIXELS, ORIENTATION, is_deep_grey, open_image, to_rgb, to_shades
from abair_pl.errors import ImageError
from abair_pl.images.metadata import exif_of, profile_for
from abair_pl.images.photograph import Photograph
from abair_pl.images.sixteen_bit import decode_deep, is_deep, is_grey_alpha_png, is_planar

_FIRST_FRAME_COUNTS = ("MPO", "TIFF")  # further frames are views and previews of the photograph, or pages
_GREY_MODES = ("1", "L", "LA", "La")
_GIF_HEAD = b"GIF8"
_HEAD_BYTES = 32


def read_photograph(file: Path | io.BytesIO, name: str = "", max_pixels: int = MAX_PIXELS) -> Photograph:
    """Read an image file; of several views or pages, the first.

    Args:
        file: Where its bytes are.
        name: What to call it in errors; its path if left out.
        max_pixels: Refuse images of more pixels.

    Raises:
        ImageError: It is no image, is cut short or animated, or holds too many pixels.
    """
    name, head = name or str(file), _head(file)
    if head.startswith(_GIF_HEAD):
        message = f"{name}: a GIF, which may be an animation; expected a photograph: save one frame of it as PNG"
        raise ImageError(message)
    with open_image(file, name, max_pixels) as image:
        frames = 1 if image.format in _FIRST_FRAME_COUNTS else getattr(image, "n_frames", 1)
        if frames > 1:
            message = f"{name}: an animation of {frames} frames; expected a single image: save one of them alone"
            raise ImageError(message)
        if is_deep(image, head) and is_planar(image):
            message = (
                f"{name}: a TIFF of 16 bits with one channel after the other; expected interleaved ones: save it so"
            )
            raise ImageError(message)
        grey = image.mode in _GREY_MODES or is_deep_grey(image) or is_grey_alpha_png(head)
        profile = profile_for(image.info.get("icc_profile"), grey)
        read = _deep(file, image, head, name) or _plain(image)
        return replace(read, icc_profile=profile, exif=exif_of(image), grey=grey)


def _head(file: Path | io.BytesIO) -> bytes:
    if isinstance(file, io.BytesIO):
        return bytes(file.getbuffer()[:_HEAD_BYTES])
    with suppress(OSError), file.open("rb") as stream:
        return stream.read(_HEAD_BYTES)
    return b""


def _deep(file: Path | io.BytesIO, image: Image.Image, head: bytes, name: str) -> Photograph | None:
    """Pixels and alpha of 16 bits a channel, or None."""
    if is_deep_grey(image):
        _check_range(image, name)
        pixels = torch.from_numpy(to_shades(image))
        return Photograph(pixels.repeat(3, 1, 1), _alpha(image), bits=16)
    if not is_deep(image, head):
        return None
    data = np.frombuffer(file.getbuffer(), np.uint8) if isinstance(file, io.BytesIO) else np.fromfile(file, np.uint8)
    samples = decode_deep(data, image, image.info.get(ORIENTATION, 1))
    if samples is None:
        return replace(_plain(image), notes=("its 16 bits a channel were read as 8 bits, as OpenCV does not read it",))
    alpha = torch.from_numpy(samples[..., 3].copy()) if samples.shape[2] == 4 else None
    return Photograph(_channels_first(samples[..., :3]), alpha, bits=16)


def _check_range(image: Image.Image, name: str) -> None:
    """Refuse grey that would be clipped: floats above 1, whole numbers of more than 16 bits."""
    most, largest = (1.0 if image.mode == "F" else 65535.0), float(np.nanmax(np.asarray(image)))
    if largest > most:
        message = f"{name}: values up to {largest:g}; expected at most {most:g}: scale it"
        raise ImageError(message)


def _plain(image: Image.Image) -> Photograph:
    """Pixels and alpha of 8 bits a channel."""
    notes = ("CMYK was converted to RGB, without its colour profile",) if image.mode == "CMYK" else ()
    return Photograph(_channels_first(np.array(to_rgb(image))).div_(255.0), _alpha(image), notes=notes)


def _channels_first(samples: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(samples).permute(2, 0, 1).float()


def _alpha(image: Image.Image) -> Tensor | None:
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):  # one shade is transparent, which PIL would look for after clipping
        return torch.from_numpy(np.asarray(image) != image.info["transparency"]).float()
    return torch.from_numpy(np.array(image.convert("RGBA").getchannel("A"))).float().div_(255.0)
