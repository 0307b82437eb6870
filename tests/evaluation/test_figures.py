from pathlib import Path

import numpy as np
import torch
from PIL import Image

from abair_pl.evaluation.figures import comparison_sheet

CELL, MARGIN, TEXT = 300, 8, 22


def test_sheet_has_a_row_for_each_degradation(tmp_path: Path) -> None:
    clean = torch.rand(3, 320, 400)
    row = [("input", clean * 0.5), ("soft", clean * 0.9), ("clean", clean)]
    path = tmp_path / "made" / "sheet.png"
    comparison_sheet({"rain": row, "noise": row[1:]}, path)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.size == (3 * (CELL + MARGIN) + MARGIN, 2 * (CELL + TEXT + 2 * MARGIN) + MARGIN)
        pixels = np.asarray(sheet).transpose(2, 0, 1)
    left, top = MARGIN + 2 * (CELL + MARGIN), MARGIN + TEXT
    middle = (clean[:, 10:310, 50:350] * 255.0).round().byte().numpy()
    assert np.array_equal(pixels[:, top : top + CELL, left : left + CELL], middle)


def test_small_images_lie_on_white(tmp_path: Path) -> None:
    comparison_sheet(
        {"rain": [("input", torch.zeros(3, 20, 30)), ("clean", torch.zeros(3, 20, 30))]}, tmp_path / "s.png"
    )
    pixels = np.asarray(Image.open(tmp_path / "s.png"))
    cell = pixels[MARGIN + TEXT :, MARGIN : MARGIN + CELL]
    assert not cell[:20, :30].any()
    assert (cell[20:CELL, :] == 255).all()
    assert (cell[:20, 30:] == 255).all()
