"""Images as data URIs, small enough for one page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from abair_pl.evaluation.report.region import Region, most_changed
from abair_pl.evaluation.report.strips import shown_images
from abair_pl.evaluation.results import Example
from abair_pl.evaluation.suite import Suite
from abair_pl.images import to_8bit

_SIDES_PX = (512, 448, 384, 320, 256)
_BUDGET_BYTES = 4 * 2**20
_QUALITY = 90


@dataclass(frozen=True)
class Version:
    """An image to be looked at.

    Attributes:
        title: ``input``, a method's, or ``clean``.
        psnr: Such as ``25.07 dB``; empty for the clean image.
        uri: The pixels.
    """

    title: str
    psnr: str
    uri: str


@dataclass(frozen=True)
class Slide:
    """An example for the page: the same part of each of its images.

    Attributes:
        kind: ``worst``, ``median`` or ``best``.
        image: Name of the image.
        width: Of what is shown, in pixels.
        height: Of what is shown, in pixels.
        part: What is shown, in words; empty for all of it.
        before: The input.
        after: The others.
        chosen: Which of them is shown first, counted from 0.
    """

    kind: str
    image: str
    width: int
    height: int
    part: str
    before: Version
    after: tuple[Version, ...]
    chosen: int


def slides(suite: Suite, examples: Sequence[Example]) -> list[Slide]:
    """The examples, each cut around what the main method changed most, at one pixel a pixel.

    All are cut smaller where they would together take more than 4 MiB.
    """
    for side_px in _SIDES_PX:
        made = [_slide(suite, example, side_px) for example in examples]
        if sum(len(version.uri) for slide in made for version in (slide.before, *slide.after)) <= _BUDGET_BYTES * 4 / 3:
            break
    return made


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address that holds all of it.

    Args:
        kind: Its MIME type.
        content: Its bytes.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _slide(suite: Suite, example: Example, side_px: int) -> Slide:
    region = most_changed(example, suite.shown_method(example.restored), side_px)
    height, width = example.clean.shape[1:]
    shown = shown_images(suite, example)
    versions = [
        Version(title, f"{example.psnr[key]:.2f} dB" if key in example.psnr else "", _encoded(region, image))
        for key, title, image in shown
    ]
    whole = (region.height, region.width) == (height, width)
    part = "" if whole else f"{region.width} x {region.height} of {width} x {height} px"
    keys = [key for key, _, _ in shown[1:]]
    chosen = keys.index(main) if (main := suite.shown_method(keys)) in keys else 0
    return Slide(
        example.kind, example.image, region.width, region.height, part, versions[0], tuple(versions[1:]), chosen
    )


def _encoded(region: Region, image: Tensor) -> str:
    stream = io.BytesIO()
    to_8bit(region.of(image)).save(stream, "WEBP", quality=_QUALITY)
    return data_uri("image/webp", stream.getvalue())
