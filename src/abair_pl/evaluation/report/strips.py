"""The paper's Figures 4 and 5: input, results and clean image side by side, each with an enlarged part."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from abair_pl.evaluation.figures import FONT_PX, captioned_grid
from abair_pl.evaluation.report.region import Region, most_changed
from abair_pl.evaluation.results import Example
from abair_pl.evaluation.suite import Suite
from abair_pl.images import to_8bit

CELL_PX = 264
_PART = 0.2  # of the shorter side, which is enlarged
_INSET = 0.42  # of the picture's shorter side, which the enlarged part takes
_MARK = "#ffd400"
_MARK_PX = 2


def strip_sheet(suite: Suite, examples: Sequence[Example]) -> Image.Image:
    """A row for each example: the input, each method's result and the clean image, captioned with their PSNR.

    In each picture a rectangle marks the part that the suite's main method changed most; it is enlarged in the corner
    farthest from it.

    Args:
        suite: Names the methods.
        examples: Of one task.
    """
    rows = [_row(suite, example) for example in examples]
    strips = [captioned_grid([row], (CELL_PX, row[0][1].height)) for row in rows]
    sheet = Image.new("RGB", (max(strip.width for strip in strips), sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def shown_images(suite: Suite, example: Example) -> list[tuple[str, str, Tensor]]:
    """All images of an example in the order in which they are shown: their PSNR's key, title and pixels."""
    restored = [(name, method.title) for name, method in suite.methods.items() if name in example.restored]
    return [
        ("input", "input", example.degraded),
        *((name, title, example.restored[name]) for name, title in restored),
        ("clean", "clean", example.clean),
    ]


def _row(suite: Suite, example: Example) -> list[tuple[str, Image.Image]]:
    side_px = max(round(min(example.clean.shape[1:]) * _PART), 1)
    region = most_changed(example, suite.shown_method(example.restored), side_px)
    row = []
    for key, title, image in shown_images(suite, example):
        prefix = f"{example.kind}: " if key == "input" else ""
        decibels = f"  {example.psnr[key]:.2f} dB" if key in example.psnr else ""
        row.append((_fitted(prefix + title, decibels), _with_inset(image, region)))
    return row


def _with_inset(image: Tensor, region: Region) -> Image.Image:
    whole = to_8bit(image)
    picture = ImageOps.contain(whole, (CELL_PX, CELL_PX))
    scale = picture.width / whole.width
    draw = ImageDraw.Draw(picture)
    left, top = round(region.left * scale), round(region.top * scale)
    right, bottom = round((region.left + region.width) * scale), round((region.top + region.height) * scale)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=_MARK, width=_MARK_PX)
    side = round(min(picture.size) * _INSET)
    inset = to_8bit(region.of(image)).resize((side - 2 * _MARK_PX, side - 2 * _MARK_PX), Image.Resampling.BICUBIC)
    inset = ImageOps.expand(inset, _MARK_PX, _MARK)
    corner_left = 0 if left + right > picture.width else picture.width - side
    corner_top = 0 if top + bottom > picture.height else picture.height - side
    picture.paste(inset, (corner_left, corner_top))
    return picture


def _fitted(title: str, decibels: str) -> str:
    """A caption that does not reach into the next picture's."""
    font = ImageFont.load_default(FONT_PX)
    shown = title
    while font.getlength(shown + decibels) > CELL_PX and len(shown) > 1:
        shown = f"{shown.removesuffix('…')[:-1]}…"
    return shown + decibels
