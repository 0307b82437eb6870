"""Colours of 16 bits a channel, which PIL has no mode for: read by OpenCV, written by it (PNG) and tifffile (TIFF)."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Exif
from PIL.TiffImagePlugin import IFDRational, TiffImageFile

from abair_pl.errors import AbairError

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH, _PNG_COLOURS = 24, 25  # where the first chunk, IHDR, has them
_PNG_RGB, _PNG_GREY_ALPHA, _PNG_RGBA = 2, 4, 6
_BITS, _PHOTOMETRIC, _PLANAR, _EXTRA_SAMPLES = 258, 262, 284, 338
_RGB, _CONTIGUOUS, _ASSOCIATED = 2, 1, (1,)
_EXIF_HEAD = b"Exif\0\0"
_DIRECTORIES = (Exif.ExifOffset, Exif.GPSInfo)
_RESOLUTION = (Exif.XResolution, Exif.YResolution, Exif.ResolutionUnit)
_UNITS = (1, 2, 3)  # none, inch, centimetre
_BYTE, _ASCII, _SHORT = 1, 2, 3  # the types of TIFF's values


def is_grey_alpha_png(head: bytes) -> bool:
    """Whether a file that begins so is a PNG of grey and alpha of 16 bits, which PIL reads as RGB."""
    return head.startswith(_PNG_HEAD) and head[_PNG_DEPTH : _PNG_COLOURS + 1] == bytes((16, _PNG_GREY_ALPHA))


def is_deep(image: Image.Image, head: bytes) -> bool:
    """Whether an opened PNG or TIFF holds RGB of 16 bits a channel, or grey of 16 bits with alpha.

    Args:
        image: The image.
        head: The first bytes of its file.
    """
    if head.startswith(_PNG_HEAD) and len(head) > _PNG_COLOURS:
        return head[_PNG_DEPTH] == 16 and head[_PNG_COLOURS] in (_PNG_RGB, _PNG_GREY_ALPHA, _PNG_RGBA)
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(_BITS, ())
        return image.tag_v2.get(_PHOTOMETRIC) == _RGB and len(bits) > 1 and set(bits) == {16}
    return False


def is_planar(image: Image.Image) -> bool:
    """Whether it is a TIFF whose channels lie one after the other, which PIL and OpenCV misread at 16 bits."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_PLANAR, _CONTIGUOUS) != _CONTIGUOUS


def decode_deep(data: NDArray[np.uint8], image: Image.Image, orientation: int) -> NDArray[np.float32] | None:
    """Decode RGB of 16 bits a channel.

    Args:
        data: ``(N,)``, the file's bytes.
        image: The file as PIL has opened it, upright.
        orientation: The EXIF orientation that was applied to it, 1 to 8.

    Returns:
        ``(H, W, 3)`` RGB, or ``(H, W, 4)`` with alpha, in [0, 1], upright; None where OpenCV cannot decode it.
    """
    decoded = None
    with _silent(), suppress(cv2.error):
        decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3 or decoded.shape[2] not in (3, 4):
        return None
    if image.format == "PNG":  # of a TIFF, OpenCV itself does it
        decoded = _turned(decoded, orientation)
    if decoded.shape[:2] != (image.height, image.width):
        return None
    samples = decoded[..., [2, 1, 0, 3][: decoded.shape[2]]].astype(np.float32)
    samples /= 65535.0
    if not image.has_transparency_data:  # a fourth channel may be anything
        return samples[..., :3]
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_EXTRA_SAMPLES) == _ASSOCIATED:
        samples[..., :3] = np.minimum(samples[..., :3] / np.maximum(samples[..., 3:], 1.0 / 65535.0), 1.0)
    return samples


def encode_png(samples: NDArray[np.uint16], profile: bytes | None, exif: bytes | None) -> bytes:
    """A PNG of 16 bits a channel.

    Args:
        samples: ``(H, W, 3)`` RGB, or ``(H, W, 4)`` with alpha.
        profile: The colour profile; one that is damaged is left out.
        exif: The EXIF block, kept whole.

    Raises:
        AbairError: OpenCV cannot write it.
    """
    order = [2, 1, 0, 3][: samples.shape[2]]
    extras = {cv2.IMAGE_METADATA_EXIF: exif and exif.removeprefix(_EXIF_HEAD), cv2.IMAGE_METADATA_ICCP: profile}
    given = {kind: np.frombuffer(block, np.uint8) for kind, block in extras.items() if block}
    for left_out in (None, cv2.IMAGE_METADATA_ICCP):
        kept = {kind: block for kind, block in given.items() if kind != left_out}
        with _silent(), suppress(cv2.error):
            written, encoded = cv2.imencodeWithMetadata(".png", samples[..., order], list(kept), list(kept.values()))
            if written:
                return bytes(encoded)
    message = f"OpenCV {cv2.__version__} cannot write a PNG of 16 bits; choose --format tiff or webp"
    raise AbairError(message)


def write_tiff(file: Path | io.BytesIO, samples: NDArray[np.uint16], profile: bytes | None, exif: bytes | None) -> None:
    """Write a TIFF of 16 bits a channel.

    Args:
        file: Where to.
        samples: ``(H, W, 3)`` RGB, or ``(H, W, 4)`` with alpha.
        profile: The colour profile.
        exif: The EXIF block, of which what the camera measured and where (its two inner directories) is left out.
    """
    tags = Image.Exif()
    tags.load(exif or b"")
    unit = tags.get(Exif.ResolutionUnit)
    tifffile.imwrite(
        file,
        samples,
        photometric="rgb",
        extrasamples=["unassalpha"] if samples.shape[2] == 4 else None,
        compression="zlib",
        predictor=True,
        iccprofile=profile,
        metadata=None,
        software=False,
        resolution=(_positive(tags.get(Exif.XResolution)), _positive(tags.get(Exif.YResolution))),
        resolutionunit=unit if unit in _UNITS else _UNITS[0],
        extratags=[tag for code, value in tags.items() if code not in _RESOLUTION for tag in _tag(code, value)],
    )


def _positive(value: Any) -> float:
    return float(value) if isinstance(value, int | float | IFDRational) and 0.0 < value < math.inf else 1.0


def _tag(code: int, value: Any) -> list[tuple[int, int, int, Any, bool]]:
    """A tag as tifffile takes it: code, type, count, value, and that it is written once; none of an odd value."""
    if code in _DIRECTORIES:
        return []
    if isinstance(value, bytes):
        return [(code, _BYTE, len(value), value, True)]
    if isinstance(value, str):
        return [(code, _ASCII, 0, value.encode("ascii", "replace"), True)]
    return [(code, _SHORT, 1, value, True)] if isinstance(value, int) and 0 <= value < 1 << 16 else []


def _turned(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """``(H, W, C)`` as an EXIF orientation says."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples[:, ::-1] if orientation in (2, 3, 6, 7) else samples


@contextmanager
def _silent() -> Iterator[None]:
    """OpenCV says nothing: what goes wrong is in what it returns."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
