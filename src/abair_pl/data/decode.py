"""From the bytes of a shard's members to arrays, by an allow-list: nothing is ever unpickled."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from abair_pl.errors import ImageError, ShardError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff")
MAX_PIXELS = 200_000_000

Sample = dict[str, Any]


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode an image to 8-bit RGB.

    Args:
        data: The file's bytes.
        name: What to call it in errors.

    Returns:
        ``(H, W, 3)``.

    Raises:
        ImageError: The bytes are no image, are cut short, or hold more than 200 megapixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_pixels(image, name)
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        message = f"{name}: not a readable image ({error}); expected one of {', '.join(IMAGE_SUFFIXES)}"
        raise ImageError(message) from error


def check_pixels(image: Image.Image, name: str) -> None:
    """Refuse an image by the size in its header, before anything is decompressed.

    Raises:
        ImageError: The header promises more than 200 megapixels.
    """
    if image.width * image.height > MAX_PIXELS:
        message = f"{name}: {image.width} x {image.height} pixels; expected at most {MAX_PIXELS // 10**6} megapixels"
        raise ImageError(message)


def decode_sample(sample: Mapping[str, Any]) -> Sample:
    """Decode the members of a WebDataset sample.

    Images become ``(H, W, 3)`` uint8 arrays under ``image``, ``input`` or ``target``; ``json`` is parsed; members of
    any other kind are refused.

    Raises:
        ShardError: A member's kind is not on the allow-list, or the sample has no image.
        ImageError: An image cannot be read.
    """
    key = str(sample["__key__"])
    decoded: Sample = {"key": key}
    for member, data in sample.items():
        if member.startswith("__"):
            continue
        role, _, suffix = member.lower().rpartition(".")
        if suffix in IMAGE_SUFFIXES and role in ("", "input", "target"):
            decoded[role or "image"] = decode_image(data, f"{key}.{member}")
        elif suffix == "json":
            decoded["json"] = json.loads(data)
        else:
            message = f"{key}.{member} in {sample.get('__url__', 'a shard')}: only images and JSON are read from shards"
            raise ShardError(message)
    if "image" not in decoded and not {"input", "target"} <= decoded.keys():
        message = f"sample {key} has members {sorted(decoded)}; expected one image, or an input and a target"
        raise ShardError(message)
    return decoded
