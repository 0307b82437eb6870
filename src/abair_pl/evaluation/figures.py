"""Pictures of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from abair_pl.evaluation.table import TITLES
from abair_pl.images import to_8bit
from abair_pl.metrics import psnr
from abair_pl.palette import LABEL_COLORS

MARGIN_PX = 8
TEXT_PX = 22
FONT_PX = 15
_LEGEND_SQUARE_PX = 14
_CELL_PX = 300


def captioned_grid(rows: Sequence[Sequence[tuple[str, Image.Image]]], cell_px: tuple[int, int]) -> Image.Image:
    """Pictures side by side, each below its caption, on white.

    Args:
        rows: Of captions and pictures no larger than a cell.
        cell_px: Width and height of a cell.
    """
    width, height = cell_px[0] + MARGIN_PX, cell_px[1] + TEXT_PX + 2 * MARGIN_PX
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * width + MARGIN_PX, len(rows) * height + MARGIN_PX), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_PX)
    for row, cells in enumerate(rows):
        for column, (caption, picture) in enumerate(cells):
            left, top = MARGIN_PX + column * width, MARGIN_PX + row * height
            draw.text((left, top), caption, fill="black", font=font)
            sheet.paste(picture, (left, top + TEXT_PX))
    return sheet


def with_legend(sheet: Image.Image, names: Sequence[str]) -> Image.Image:
    """A sheet with a line below it that shows each label's colour; ``names`` in the order of the labels."""
    longer = Image.new("RGB", (sheet.width, sheet.height + TEXT_PX), "white")
    longer.paste(sheet, (0, 0))
    draw, font = ImageDraw.Draw(longer), ImageFont.load_default(FONT_PX)
    left, top = MARGIN_PX, sheet.height
    for label, name in enumerate(names):
        right, bottom = left + _LEGEND_SQUARE_PX, top + _LEGEND_SQUARE_PX
        color = tuple(LABEL_COLORS[label % len(LABEL_COLORS)].tolist())
        draw.rectangle((left, top, right, bottom), fill=color, outline="black")
        draw.text((right + MARGIN_PX, top - 1), name, fill="black", font=font)
        left = right + 3 * MARGIN_PX + round(draw.textlength(name, font=font))
    return longer


def centered(image: Tensor, cell_px: tuple[int, int]) -> Tensor:
    """The middle of an image ``(3, H, W)``, no wider and no higher than a cell."""
    width, height = cell_px
    top, left = max((image.shape[1] - height) // 2, 0), max((image.shape[2] - width) // 2, 0)
    return image[:, top : top + height, left : left + width]


def comparison_sheet(rows: Mapping[str, list[tuple[str, Tensor]]], path: Path) -> None:
    """Draw a row for each degradation: input, results and reference side by side, with their PSNR.

    Args:
        rows: By degradation, titled images ``(3, H, W)`` in [0, 1], the reference last.
        path: The PNG to write.
    """
    cell = (_CELL_PX, _CELL_PX)
    drawn = []
    for degradation, images in rows.items():
        reference = images[-1][1]
        captions = [f"{TITLES.get(title, title)}  {_decibels(image, reference)}" for title, image in images[:-1]]
        captions.append(TITLES.get(images[-1][0], images[-1][0]))
        captions[0] = f"{degradation}: {captions[0]}"
        pictures = [to_8bit(centered(image, cell)) for _, image in images]
        drawn.append(list(zip(captions, pictures, strict=True)))
    path.parent.mkdir(parents=True, exist_ok=True)
    captioned_grid(drawn, cell).save(path)


def _decibels(image: Tensor, reference: Tensor) -> str:
    return f"{psnr(image[None], reference[None]).item():.2f} dB"
