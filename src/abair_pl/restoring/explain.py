"""A picture of what was found in a photograph and done to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from abair_pl.atomic import published
from abair_pl.errors import AbairError
from abair_pl.evaluation.figures import FONT_PX, MARGIN_PX, TEXT_PX, captioned_grid, with_legend
from abair_pl.images import to_8bit
from abair_pl.palette import LABEL_COLORS, paint_labels
from abair_pl.result import Result

_CELL_PX = 420
_NAME_PX = 110
_NUMBER_PX = 40
_BAR_PX = 14


def write_sheet(before: Tensor, result: Result, labels: Sequence[str], path: Path) -> None:
    """Draw a photograph before and after, the weights as bars, and the map of what was seen where.

    Args:
        before: ``(3, H, W)`` in [0, 1].
        result: What was made of it; without ``labels`` there is no map.
        labels: Their names, ``clean`` first.
        path: The PNG to write, in one step.

    Raises:
        AbairError: It cannot be written.
    """
    whole = to_8bit(before)
    size = _fitted(whole.size)
    cells = [("before", _reduced(whole, size)), ("after", _reduced(to_8bit(result.restored), size))]
    title = "weights: a guess, unlike any adapter" if result.is_guess else "weights"
    cells.append((title, _bars(result.weights, labels)))
    cells += [(f"weights of pass {2 + index}", _bars(further, labels)) for index, further in enumerate(result.further)]
    if result.labels is not None:
        cells.append(
            ("seen where", Image.fromarray(paint_labels(result.labels)).resize(size, Image.Resampling.NEAREST))
        )
    height = max(picture.height for _, picture in cells)
    sheet = captioned_grid([cells], (_CELL_PX, height))
    if result.labels is not None:
        sheet = with_legend(sheet, labels)
    try:
        with published(path) as partial:
            sheet.save(partial, "PNG")
    except OSError as error:
        message = f"cannot write {path} ({error.strerror or error}); make room, or choose another --output"
        raise AbairError(message) from error


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture that fits into a cell, at least a pixel a side."""
    scale = _CELL_PX / max(size)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _reduced(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture.resize(size, Image.Resampling.LANCZOS)


def _bars(weights: Mapping[str, float], labels: Sequence[str]) -> Image.Image:
    """A bar for each weight, as long as the weight is large, in the colour of its label."""
    picture = Image.new("RGB", (_CELL_PX, max(len(weights), 1) * TEXT_PX), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT_PX)
    longest = _CELL_PX - _NAME_PX - _NUMBER_PX - MARGIN_PX
    for row, (name, weight) in enumerate(weights.items()):
        top = row * TEXT_PX
        label = labels.index(name) if name in labels else len(labels)
        right = _NAME_PX + round(longest * min(max(weight, 0.0), 1.0))
        draw.text((0, top), name, fill="black", font=font)
        draw.rectangle(
            (_NAME_PX, top + 2, right, top + 2 + _BAR_PX),
            fill=tuple(LABEL_COLORS[label % len(LABEL_COLORS)].tolist()),
            outline="black",
        )
        draw.text((right + MARGIN_PX // 2, top), f"{weight:.2f}", fill="black", font=font)
    return picture
