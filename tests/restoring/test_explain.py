from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from abair_pl.errors import AbairError
from abair_pl.palette import LABEL_COLORS
from abair_pl.restoring.explain import write_sheet
from abair_pl.result import Result

LABELS = ["clean", "rain", "haze"]


def result(restored: Tensor, **changes: object) -> Result:
    values = {"weights": {"rain": 0.75, "haze": 0.25}, "labels": torch.zeros(restored.shape[1:], dtype=torch.int64)}
    return Result(**{"restored": restored, **values, **changes})  # type: ignore[arg-type]


def colours(path: Path) -> dict[tuple[int, ...], int]:
    """How many pixels of a picture have each colour."""
    with Image.open(path) as image:
        return {colour: count for count, colour in image.getcolors(1 << 20) or [] if isinstance(colour, tuple)}


def test_before_after_weights_and_labels_are_shown(tmp_path: Path) -> None:
    before, after = torch.zeros(3, 30, 40), torch.zeros(3, 30, 40)
    before[0], after[1] = 1.0, 1.0
    labels = torch.ones(30, 40, dtype=torch.int64)
    labels[:, 20:] = 2
    write_sheet(before, result(after, labels=labels), LABELS, tmp_path / "sheet.png")
    found = colours(tmp_path / "sheet.png")
    rain, haze = (tuple(map(int, LABEL_COLORS[label])) for label in (1, 2))
    picture = 420 * 315
    assert found[(255, 0, 0)] == found[(0, 255, 0)] == picture
    bars = found[rain] - picture // 2, found[haze] - picture // 2
    assert 2.5 < bars[0] / bars[1] < 3.5


def test_without_a_segmentation_head_there_is_no_map(tmp_path: Path) -> None:
    sizes = []
    for name, labels in (("with", torch.zeros(30, 40, dtype=torch.int64)), ("without", None)):
        write_sheet(
            torch.rand(3, 30, 40), result(torch.rand(3, 30, 40), labels=labels), LABELS, tmp_path / f"{name}.png"
        )
        sizes.append(Image.open(tmp_path / f"{name}.png").size)
    assert sizes[1][0] == sizes[0][0] - 428
    assert sizes[1][1] < sizes[0][1]


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 3000), (3, 900, 5)])
def test_images_of_any_shape_are_shown(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_sheet(torch.rand(shape), result(torch.rand(shape)), LABELS, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width == 4 * 428 + 8


def test_adapters_beyond_the_labels_and_no_adapters_are_shown(tmp_path: Path) -> None:
    for weights in ({"snow": 1.0}, {}):
        write_sheet(torch.rand(3, 9, 9), result(torch.rand(3, 9, 9), weights=weights), LABELS, tmp_path / "sheet.png")
        assert (tmp_path / "sheet.png").exists()


def test_a_guess_is_told_but_not_of_what_is_found_clean(tmp_path: Path) -> None:
    image = torch.rand(3, 9, 9)
    for name, weight, unknown in (
        ("known", 0.5, False),
        ("guess", 0.5, True),
        ("clean", 0.0, True),
        ("none", 0.0, False),
    ):
        found = result(image, weights={"rain": weight}, unknown=unknown)
        write_sheet(image, found, LABELS, tmp_path / name)
    known, guess, clean, none = ((tmp_path / name).read_bytes() for name in ("known", "guess", "clean", "none"))
    assert known != guess
    assert clean == none


def test_a_sheet_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(AbairError, match=r"cannot write .*sheet.png \(Is a directory\)"):
        write_sheet(torch.rand(3, 9, 9), result(torch.rand(3, 9, 9)), LABELS, tmp_path / "sheet.png")
