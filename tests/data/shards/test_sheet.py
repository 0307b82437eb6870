from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from abair_pl.data.shards.build import build_shards
from abair_pl.data.shards.sheet import write_sheet
from abair_pl.errors import InputError

CELL = 160


def _read(sheet: Path) -> NDArray[np.uint8]:
    with Image.open(sheet) as image:
        return np.asarray(image)


def test_photographs_stand_in_rows_and_columns(clean_shards: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    assert write_sheet(str(clean_shards), sheet, images=5, columns=2) == 5
    pixels = _read(sheet)
    assert pixels.shape == (3 * CELL, 2 * CELL, 3)
    assert (pixels[2 * CELL :, :CELL] < 255).any()
    assert (pixels[2 * CELL :, CELL:] == 255).all()


def test_the_two_of_a_pair_stand_side_by_side(pair_shards: Path, tmp_path: Path) -> None:
    assert write_sheet(str(pair_shards), tmp_path / "sheet.png", columns=3) == 6
    pixels = _read(tmp_path / "sheet.png")
    assert pixels.shape == (2 * CELL, 6 * CELL, 3)
    negative, positive = pixels[2:42, 2:50], pixels[2:42, CELL + 2 : CELL + 50]
    assert np.array_equal(255 - negative, positive)


def test_depth_stands_beside_its_photograph(tmp_path: Path, picture: Callable[..., NDArray[np.uint8]]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    Image.fromarray(picture(0)).save(source / "a.png")
    Image.fromarray(np.tile(np.linspace(0, 65535, 48).astype(np.uint16), (40, 1))).save(source / "a.depth.png")
    build_shards(source, tmp_path / "shards", workers=1)
    write_sheet(str(tmp_path / "shards"), tmp_path / "sheet.png")
    pixels = _read(tmp_path / "sheet.png")
    assert pixels.shape == (CELL, 2 * CELL, 3)
    depth = pixels[20, CELL + 2 : CELL + 50, 0]
    assert (depth[0], depth[-1]) == (0, 255)


def test_no_image_and_no_column_are_refused(clean_shards: Path, tmp_path: Path) -> None:
    for options in ({"images": 0}, {"columns": 0}):
        with pytest.raises(InputError, match="is 0; expected at least 1"):
            write_sheet(str(clean_shards), tmp_path / "sheet.png", **options)
