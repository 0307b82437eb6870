"""Pictures of results."""

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from abair_pl.evaluation.table import TITLES
from abair_pl.images import to_8bit
from abair_pl.metrics import psnr

_CELL_PX = 300
_MARGIN_PX = 8
_TEXT_PX = 22


def comparison_sheet(rows: Mapping[str, list[tuple[str, Tensor]]], path: Path) -> None:
    """Draw a row for each degradation: input, results and reference side by side, with their PSNR.

    Args:
        rows: By degradation, titled images ``(3, H, W)`` in [0, 1], the reference last.
        path: The PNG to write.
    """
    columns = max(len(images) for images in rows.values())
    pitch = _CELL_PX + _MARGIN_PX
    height = _CELL_PX + _TEXT_PX + 2 * _MARGIN_PX
    sheet = Image.new("RGB", (columns * pitch + _MARGIN_PX, len(rows) * height + _MARGIN_PX), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for row, (degradation, images) in enumerate(rows.items()):
        reference = images[-1][1]
        for column, (title, image) in enumerate(images):
            corner = (_MARGIN_PX + column * pitch, _MARGIN_PX + row * height)
            text = TITLES.get(title, title)
            if column < len(images) - 1:
                text += f"  {psnr(image[None], reference[None]).item():.2f} dB"
            draw.text(corner, f"{degradation}: {text}" if column == 0 else text, fill="black", font=font)
            sheet.paste(to_8bit(_center(image)), (corner[0], corner[1] + _TEXT_PX))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _center(image: Tensor) -> Tensor:
    """The middle of an image, or all of it on white where it is smaller than a cell."""
    _, height, width = image.shape
    top, left = max((height - _CELL_PX) // 2, 0), max((width - _CELL_PX) // 2, 0)
    cut = image[:, top : top + _CELL_PX, left : left + _CELL_PX]
    cell = torch.ones(3, _CELL_PX, _CELL_PX)
    cell[:, : cut.shape[1], : cut.shape[2]] = cut
    return cell
