from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFont

from abair_pl.evaluation.figures import FONT_PX, MARGIN_PX, TEXT_PX
from abair_pl.evaluation.report import strips
from abair_pl.evaluation.report.strips import CELL_PX, shown_images, strip_sheet
from abair_pl.evaluation.results import Example
from abair_pl.evaluation.suite import Method, Suite, Task

YELLOW = (255, 212, 0)
SUITE = Suite(
    "Suite", {"task": Task("T", "D", "l", "r")}, {"a": Method("first"), "b": Method("second"), "c": Method("third")}
)
TOP, STEP = MARGIN_PX + TEXT_PX, CELL_PX + MARGIN_PX


def example(top: int, left: int, side: int = CELL_PX, changed: float = 0.9) -> Example:
    """The method ``b`` changes a square of 40 pixels; ``c`` restored nothing."""
    degraded = torch.full((3, side, side), 0.5)
    restored = degraded.clone()
    restored[:, top : top + 40, left : left + 40] = changed
    images = {"a": degraded, "b": restored}
    return Example("task", "image", "worst", degraded, torch.zeros_like(degraded), images, {"input": 20.0, "b": 25.5})


def picture(sheet: Image.Image, column: int, top: int = TOP) -> NDArray[np.uint8]:
    left = MARGIN_PX + column * STEP
    return np.asarray(sheet.crop((left, top, left + CELL_PX, top + CELL_PX)))


def yellow(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (pixels == YELLOW).all(axis=2)


def test_images_are_the_input_what_was_restored_and_the_clean_one() -> None:
    assert [(key, title) for key, title, _ in shown_images(SUITE, example(0, 0))] == [
        ("input", "input"),
        ("a", "first"),
        ("b", "second"),
        ("clean", "clean"),
    ]


def test_sheet_has_a_row_for_each_example() -> None:
    sheet = strip_sheet(SUITE, [example(0, 0), example(0, 0)])
    row = CELL_PX + TEXT_PX + 3 * MARGIN_PX
    assert sheet.size == (4 * STEP + MARGIN_PX, 2 * row)
    assert yellow(picture(sheet, 3, TOP + row)).any()


def test_rows_are_as_high_as_their_pictures() -> None:
    wide = example(0, 0)
    wide = Example(
        "task", "image", "best", wide.degraded[:, :132], wide.clean[:, :132], {"b": wide.restored["b"][:, :132]}, {}
    )
    assert strip_sheet(SUITE, [wide]).height == CELL_PX // 2 + TEXT_PX + 3 * MARGIN_PX


@pytest.mark.parametrize(("top", "left"), [(10, 20), (200, 20), (10, 200), (200, 200)])
def test_rectangle_marks_the_change_and_the_inset_lies_in_the_far_corner(top: int, left: int) -> None:
    suite = replace(SUITE, main="b")
    sheet = strip_sheet(suite, [example(top, left)])
    for column in range(4):
        marked = yellow(picture(sheet, column))
        rows, columns = np.nonzero(marked[top - 10 : top + 50, left - 10 : left + 50])
        assert (rows.min(), columns.min()) == pytest.approx((0, 0), abs=10)
        assert marked[0 if top > 100 else -1, 0 if left > 100 else -1]
        assert not marked[0 if top < 100 else -1, 0 if left < 100 else -1]


def test_inset_enlarges_the_marked_part() -> None:
    sheet = strip_sheet(replace(SUITE, main="b"), [example(10, 20)])
    inset = picture(sheet, 2)[-60:-10, -60:-10]
    assert (inset == round(0.9 * 255)).mean() > 0.5
    assert (picture(sheet, 0)[-60:-10, -60:-10] == round(0.5 * 255)).all()


def test_clean_image_has_no_decibels_and_others_have(monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []

    def watched(rows: list[list[tuple[str, Image.Image]]], cell_px: tuple[int, int]) -> Image.Image:
        captions.extend(caption for row in rows for caption, _ in row)
        return Image.new("RGB", cell_px)

    monkeypatch.setattr(strips, "captioned_grid", watched)
    strip_sheet(SUITE, [example(0, 0)])
    assert captions == ["worst: input  20.00 dB", "first", "second  25.50 dB", "clean"]


def test_long_captions_keep_their_decibels_and_stay_in_their_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []

    def watched(rows: list[list[tuple[str, Image.Image]]], cell_px: tuple[int, int]) -> Image.Image:
        captions.extend(caption for row in rows for caption, _ in row)
        return Image.new("RGB", cell_px)

    monkeypatch.setattr(strips, "captioned_grid", watched)
    long = replace(SUITE, methods={**SUITE.methods, "b": Method("a title that goes on and on and on and on")})
    strip_sheet(long, [example(0, 0)])
    assert captions[2].startswith("a title that")
    assert captions[2].endswith("…  25.50 dB")
    assert ImageFont.load_default(FONT_PX).getlength(captions[2]) <= CELL_PX


def test_small_images_can_be_shown() -> None:
    assert strip_sheet(SUITE, [example(0, 0, side=12)]).width == 4 * STEP + MARGIN_PX
