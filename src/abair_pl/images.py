"""Image files in and out: RGB float inside, everything else about the file kept."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import Base as Exif
from torch import Tensor

from abair_pl.atomic import published
from abair_pl.data.decode import IMAGE_SUFFIXES, is_depth_map, is_image_file, open_image, to_rgb
from abair_pl.errors import AbairError, ImageError, InputError

_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF"}
_QUALITY = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
_EXIF_KEPT = {  # what tells of the photograph; other tags, such as a TIFF's, tell how the file stores its pixels
    Exif.ImageDescription,
    Exif.Make,
    Exif.Model,
    Exif.XResolution,
    Exif.YResolution,
    Exif.ResolutionUnit,
    Exif.Software,
    Exif.DateTime,
    Exif.Artist,
    Exif.HostComputer,
    Exif.Rating,
    Exif.Copyright,
    Exif.ExifOffset,
    Exif.GPSInfo,
    Exif.XPTitle,
    Exif.XPComment,
    Exif.XPAuthor,
    Exif.XPKeywords,
    Exif.XPSubject,
}
_STRIP_ROWS = 256
_FIRST_FRAME_COUNTS = ("MPO", "TIFF")  # further frames are views and previews of the photograph, or pages


@dataclass(frozen=True)
class Photograph:
    """An image file's pixels, and what goes with them.

    Attributes:
        pixels: ``(3, H, W)`` float32 RGB in [0, 1], upright (the EXIF orientation has been applied).
        alpha: ``(H, W)`` in [0, 1], or None for an opaque image.
        icc_profile: The embedded colour profile, or None where there is none for RGB.
        exif: The EXIF block, or None where there is none or a damaged one; without the orientation, which has been
            applied, and without tags on how the file stored its pixels.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None


def find_images(inputs: list[Path]) -> list[Path]:
    """The image files among files and folders, in order; ``x.depth.png`` in a folder is the depth of ``x``, no image.

    Raises:
        ImageError: An input does not exist, or a folder has no images.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if is_image_file(file) and not is_depth_map(file.name))
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


def make_folder(output: Path) -> None:
    """Make the folder for results, where there is none.

    Raises:
        InputError: There is a file of this name, or it may not be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{output} cannot be a folder of results ({error.strerror}); choose another --output"
        raise InputError(message) from error


def read_photograph(path: Path) -> Photograph:
    """Read an image file; of several views or pages, the first.

    Raises:
        ImageError: It is no image, is cut short or animated, or holds too many pixels.
    """
    with open_image(path, str(path)) as image:
        frames = 1 if image.format in _FIRST_FRAME_COUNTS else getattr(image, "n_frames", 1)
        if frames > 1:
            message = f"{path}: an animation of {frames} frames; expected a single image: save one of them alone"
            raise ImageError(message)
        pixels = _to_tensor(to_rgb(image)).permute(2, 0, 1)
        return Photograph(pixels, _alpha(image), _rgb_profile(image), _exif(image))


def _alpha(image: Image.Image) -> Tensor | None:
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):  # one shade is transparent, which PIL would look for after clipping
        return torch.from_numpy(np.asarray(image) != image.info["transparency"]).float()
    return _to_tensor(image.convert("RGBA").getchannel("A"))


def _rgb_profile(image: Image.Image) -> bytes | None:
    """The colour profile, unless it is for the grey or CMYK that the pixels were converted from."""
    profile: bytes = image.info.get("icc_profile") or b""
    return profile if profile[16:20] == b"RGB " else None


def _exif(image: Image.Image) -> bytes | None:
    try:
        exif = image.getexif()
        exif.bigtiff = False  # the block's own form, whatever the file's
        for tag in exif.keys() - _EXIF_KEPT:
            del exif[tag]
        return exif.tobytes() if exif else None
    except Exception:  # PIL's errors at a damaged block are of a dozen kinds
        return None


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).float().div_(255.0)


def to_8bit(pixels: Tensor) -> Image.Image:
    """An 8-bit RGB image from ``(3, H, W)`` in [0, 1]."""
    # In strips, since a float copy of a large photograph takes four times the memory of its bytes.
    strips = [(strip.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8) for strip in pixels.split(_STRIP_ROWS, dim=1)]
    return Image.fromarray(torch.cat(strips, dim=1).permute(1, 2, 0).cpu().contiguous().numpy())


def write_photograph(photograph: Photograph, path: Path) -> None:
    """Write an image file of 8 bits a channel, in one step: a reader never sees half of it.

    Raises:
        ImageError: The suffix is not of a format that can be written.
        AbairError: The file cannot be written.
    """
    kind = _FORMATS.get(path.suffix.lower().lstrip("."))
    if kind is None:
        message = f"cannot write {path}; expected a suffix of {', '.join(_FORMATS)}"
        raise ImageError(message)
    image = to_8bit(photograph.pixels)
    if photograph.alpha is not None and kind != "JPEG":
        alpha = (photograph.alpha * 255.0).round().to(torch.uint8).cpu().numpy()
        image.putalpha(Image.fromarray(alpha))
    extras = {"icc_profile": photograph.icc_profile, "exif": photograph.exif}
    options = {name: value for name, value in extras.items() if value is not None}
    try:
        with published(path) as partial:
            image.save(partial, kind, **options, **_QUALITY.get(kind, {}))
    except (ValueError, struct.error) as error:
        message = f"cannot write {path} ({error}); choose another --format"
        raise ImageError(message) from error
    except OSError as error:
        message = f"cannot write {path} ({error.strerror or error}); make room, or choose another --output"
        raise AbairError(message) from error
