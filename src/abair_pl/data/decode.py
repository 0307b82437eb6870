"""From the bytes of a shard's members to arrays, by an allow-list: nothing is ever unpickled."""

import io
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base as Exif
from PIL.TiffImagePlugin import TiffImageFile

from abair_pl.errors import ImageError, ShardError
from abair_pl.plain_json import parse_json

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff")
MAX_PIXELS = 200_000_000
MAX_PIXELS_A_BYTE = 1200
"""More than any format makes of a photograph, or PNG of a single shade: of a larger image, it is a bomb or a lie."""

_SMALL_PIXELS = 1 << 20
MAX_MEMBER_BYTES = 128 << 20
MAX_SAMPLE_BYTES = 256 << 20
NUMBER_SUFFIXES = ("cls", "id", "index")
_MAX_DIGITS = 18
_DAMAGE = (  # what PIL raises at damaged files, as fuzzing shows
    *(OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
    *(EOFError, MemoryError, RuntimeError, struct.error),
)
_WHITE = {"F": 1.0, "L": 255.0}  # by mode; of all others, 65535
_PHOTOMETRIC = 262  # the tag of a TIFF that tells whether 0 is black
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF")  # JPEG is MPO too; of EPS, PIL would start Ghostscript
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # PIL refuses twice as many, which by its own default is less than ours

ORIENTATION = "orientation"
"""Where the ``info`` of an opened image has the EXIF orientation that was applied to it."""

Sample = dict[str, Any]


def is_image_file(path: Path) -> bool:
    """Whether this is a file with the name of an image."""
    return path.suffix.lower().lstrip(".") in IMAGE_SUFFIXES and path.is_file()


def is_depth_map(name: str) -> bool:
    """Whether a file is the depth of a photograph by its name: ``x.depth.png`` beside ``x.jpg``."""
    stem, _, suffix = name.rpartition(".")
    return stem.endswith(".depth") and suffix.lower() == "png"


@contextmanager
def open_image(file: Path | io.BytesIO, name: str, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image and turn it as its EXIF orientation says; a damaged EXIF block is passed over.

    It is read by its bytes, whatever its name, and only as one of our formats: PIL would start programs for others. The
    size is checked by the header, before anything is decompressed.

    Args:
        file: Where its bytes are.
        name: What to call it in errors.
        max_pixels: Refuse images of more pixels.

    Yields:
        The image, whose pixels have been read; ``info["orientation"]`` is the EXIF orientation that was applied.

    Raises:
        ImageError: It is no image, is cut short, or holds too many pixels.
    """
    try:
        with _silence():
            opened = Image.open(file, formats=_FORMATS)
        with opened as image:
            _check_size(image, file, name, max_pixels)
            with _silence():
                image.load()
                with suppress(Exception):  # PIL's errors at a damaged EXIF block are of a dozen kinds
                    orientation = image.getexif().get(Exif.Orientation, 1)
                    ImageOps.exif_transpose(image, in_place=True)
                    image.info[ORIENTATION] = orientation
                yield image
    except Image.DecompressionBombError as error:
        raise _too_large(name, f"more than {2 * MAX_PIXELS // 10**6} megapixels", max_pixels) from error
    except _DAMAGE as error:
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        reason = " ".join(reason.split()) or type(error).__name__
        message = f"{name}: not a readable image ({reason}); expected one of {', '.join(IMAGE_SUFFIXES)}"
        raise ImageError(message) from error


@contextmanager
def _silence() -> Iterator[None]:
    """PIL's warnings stay away: what is wrong with an image is in the error, or does no harm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_size(image: Image.Image, file: Path | io.BytesIO, name: str, max_pixels: int) -> None:
    """Refuse more pixels than there may be, or than the bytes of the file can hold."""
    pixels, found = image.width * image.height, f"{image.width} x {image.height} pixels"
    if pixels > max_pixels:
        raise _too_large(name, found, max_pixels)
    size_bytes = file.getbuffer().nbytes if isinstance(file, io.BytesIO) else file.stat().st_size
    if pixels > max(_SMALL_PIXELS, MAX_PIXELS_A_BYTE * size_bytes):
        message = (
            f"{name}: {found} in {size_bytes} bytes; expected at most {MAX_PIXELS_A_BYTE} pixels a byte: it is damaged"
        )
        raise ImageError(message)


def _too_large(name: str, found: str, max_pixels: int) -> ImageError:
    return ImageError(f"{name}: {found}; expected at most {max_pixels / 10**6:g} megapixels: scale it down")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit RGB.

    Grey of more than 8 bits, which PIL would clip, is scaled: integers from [0, 65535], floats from [0, 1].
    """
    if is_deep_grey(image):
        shades = to_shades(image)
        image = Image.fromarray(np.rint(np.multiply(shades, 255.0, out=shades), out=shades).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def is_deep_grey(image: Image.Image) -> bool:
    """Whether an image is grey of more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def to_shades(image: Image.Image) -> NDArray[np.float32]:
    """A grey image as ``(H, W)`` in [0, 1]; in one array, since a large image fills the memory.

    1 stands for the largest number of its 8 or 16 bits; floats are taken as they are.
    """
    shades = np.array(image, dtype=np.float32)
    np.divide(np.nan_to_num(shades, copy=False), np.float32(_WHITE.get(image.mode, 65535.0)), out=shades)
    np.clip(shades, 0.0, 1.0, out=shades)
    if isinstance(image, TiffImageFile) and image.mode.startswith("I;16") and image.tag_v2.get(_PHOTOMETRIC) == 0:
        np.subtract(np.float32(1.0), shades, out=shades)  # 0 is white, which PIL sees to at 8 bits alone
    return shades


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode an image to 8-bit RGB, upright.

    Args:
        data: The file's bytes.
        name: What to call it in errors.

    Returns:
        ``(H, W, 3)``.

    Raises:
        ImageError: The bytes are no image, are cut short, or hold more than 200 megapixels.
    """
    with open_image(io.BytesIO(data), name) as image:
        return np.asarray(to_rgb(image))


def decode_depth(data: bytes, name: str) -> NDArray[np.float32]:
    """Decode a depth map: grey of 8 or 16 bits.

    Args:
        data: The file's bytes.
        name: What to call it in errors.

    Returns:
        ``(H, W)`` in [0, 1], of which 1 stands for the largest number of that many bits.

    Raises:
        ImageError: The bytes are no grey image, are cut short, or hold more than 200 megapixels.
    """
    with open_image(io.BytesIO(data), name) as image:
        if image.mode != "L" and not image.mode.startswith("I"):
            message = f"{name}: an image of mode {image.mode}; expected depth as grey of 8 or 16 bits"
            raise ImageError(message)
        return to_shades(image)


def decode_sample(sample: Mapping[str, Any]) -> Sample:
    """Decode the members of a WebDataset sample.

    Images become ``(H, W, 3)`` uint8 arrays under ``image``, ``input`` or ``target``; ``depth.png`` becomes ``depth``,
    ``(H, W)`` float32 in [0, 1]; ``json`` is parsed, and ``cls``, ``id`` and ``index`` are whole numbers. Members of
    any other kind are refused, whatever is in them.

    Raises:
        ShardError: A member's kind is not on the allow-list, its JSON or number is damaged or too large, or the sample
            has no image.
        ImageError: An image cannot be read, or the images differ in size.
    """
    key = str(sample["__key__"])
    shard = sample.get("__url__", "a shard")
    decoded: Sample = {"key": key}
    for member, data in sample.items():
        if member.startswith("__"):
            continue
        role, _, suffix = member.lower().rpartition(".")
        if suffix in IMAGE_SUFFIXES and role in ("", "input", "target"):
            decoded[role or "image"] = decode_image(data, f"{key}.{member}")
        elif member.lower() == "depth.png":
            decoded["depth"] = decode_depth(data, f"{key}.{member}")
        elif suffix == "json":
            decoded["json"] = _parse_json(data, f"{key}.{member} in {shard}")
        elif member.lower() in NUMBER_SUFFIXES:
            decoded[member.lower()] = _parse_number(data, f"{key}.{member} in {shard}")
        else:
            message = f"{key}.{member} in {shard}: only images, JSON and whole numbers are read from shards"
            raise ShardError(message)
    if "image" not in decoded and not {"input", "target"} <= decoded.keys():
        message = f"sample {key} has members {sorted(decoded)}; expected one image, or an input and a target"
        raise ShardError(message)
    sizes = {role: decoded[role].shape[:2] for role in ("image", "input", "target", "depth") if role in decoded}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{role} {width} x {height}" for role, (height, width) in sizes.items())
        message = f"{key} has images of unequal sizes ({found}); expected the same"
        raise ImageError(message)
    return decoded


def _parse_json(data: bytes, name: str) -> Any:
    try:
        return parse_json(data)
    except (ValueError, RecursionError) as error:
        message = f"{name}: damaged ({error}); expected JSON: mend it and build the shard again"
        raise ShardError(message) from error


def _parse_number(data: bytes, name: str) -> int:
    if not re.fullmatch(rb"-?[0-9]{1,%d}\s*" % _MAX_DIGITS, data):
        message = f"{name}: {data[:24]!r} is no whole number of up to {_MAX_DIGITS} digits: build the shard again"
        raise ShardError(message)
    return int(data)
