import numpy as np
import pytest
import torch
from PIL import Image, ImageChops
from torch import Tensor

from abair_pl.degradations import (
    BUILT_IN,
    Composite,
    RandomGaussianNoise,
    RandomSnow,
    Synthesizer,
    parse_degradation,
    resolve_composites,
    resolve_degradations,
)
from abair_pl.evaluation import gallery
from abair_pl.evaluation.figures import MARGIN_PX, TEXT_PX, captioned_grid
from abair_pl.evaluation.gallery import composite_sheet, cutmix_sheet, every_operator, severity_sheet
from abair_pl.evaluation.protocols import PROTOCOLS
from abair_pl.images import to_8bit
from abair_pl.palette import LABEL_COLORS

CELL = (60, 40)


@pytest.fixture
def photograph() -> Tensor:
    return torch.rand(3, 48, 64)


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The captions of the grids that are drawn, row by row."""
    written: list[list[str]] = []

    def listen(rows: list[list[tuple[str, Image.Image]]], cell_px: tuple[int, int]) -> Image.Image:
        written.extend([caption for caption, _ in row] for row in rows)
        return captioned_grid(rows, cell_px)

    monkeypatch.setattr(gallery, "captioned_grid", listen)
    return written


def sheet_size(columns: int, rows: int) -> tuple[int, int]:
    width, height = CELL
    return columns * (width + MARGIN_PX) + MARGIN_PX, rows * (height + TEXT_PX + 2 * MARGIN_PX) + MARGIN_PX


def cell(sheet: Image.Image, row: int, column: int) -> Image.Image:
    left, top = MARGIN_PX + column * (CELL[0] + MARGIN_PX), MARGIN_PX + row * (CELL[1] + TEXT_PX + 2 * MARGIN_PX)
    return sheet.crop((left, top + TEXT_PX, left + CELL[0], top + TEXT_PX + CELL[1]))


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None


def test_every_operator_is_each_kind_once() -> None:
    found = {(operator.name, operator.kind) for operator in every_operator()}
    assert len(found) == len(every_operator()) == sum(map(len, BUILT_IN.values()))
    assert {name for name, _ in found} == set(BUILT_IN)


def test_severity_sheet_has_a_row_for_each_degradation(photograph: Tensor, captions: list[list[str]]) -> None:
    operators = every_operator()
    sheet = severity_sheet([(operator, photograph) for operator in operators], (0.0, 1.0), cell_px=CELL)
    assert sheet.size == sheet_size(3, len(operators))
    titles = [row[0] for row in captions]
    assert titles[:4] == ["rain", "haze", "noise: gaussian", "noise: poisson_gaussian"]
    assert len(set(titles)) == len(operators)
    assert all(row[1].startswith("severity 0, ") and row[2].startswith("severity 1, ") for row in captions)
    clean = to_8bit(photograph[:, 4:44, 2:62])
    assert all(same(cell(sheet, row, 0), clean) for row in range(len(operators)))
    assert not any(same(cell(sheet, row, 2), clean) for row in range(len(operators)))


def test_severity_sheet_shows_the_dial(photograph: Tensor, captions: list[list[str]]) -> None:
    operator = RandomGaussianNoise(sigma_8bit=(10.0, 50.0))
    sheet = severity_sheet([(operator, photograph)], (0.5,), seed=3, cell_px=CELL)
    synthesizer = Synthesizer([operator])
    plan = synthesizer.plan(torch.tensor([3]), "noise", (0.5, 0.5))
    assert plan.steps[0].parameters["sigma_8bit"].item() == pytest.approx(30.0)
    degraded = synthesizer(photograph[None], plan).degraded[0]
    assert same(cell(sheet, 0, 1), to_8bit(degraded[:, 4:44, 2:62]))
    decibels = PROTOCOLS["y"].measure(degraded, photograph)[0]
    assert captions == [["noise: gaussian", f"severity 0.5, {decibels:.1f} dB"]]


def test_composite_sheet_goes_step_by_step(photograph: Tensor, captions: list[list[str]]) -> None:
    composite = parse_degradation("noise:sigma=25+blur:radius=3")
    assert isinstance(composite, Composite)
    sheet = composite_sheet([(composite, photograph)], cell_px=CELL)
    assert sheet.size == sheet_size(3, 1)
    assert [caption.split(",")[0] for caption in captions[0]] == ["blur+noise", "blur: defocus", "then noise: gaussian"]
    synthesizer = Synthesizer.only(composite)
    plan = synthesizer.plan(torch.tensor([0]), "blur+noise", (0.5, 0.5))
    degraded = synthesizer(photograph[None], plan).degraded[0]
    assert same(cell(sheet, 0, 2), to_8bit(degraded[:, 4:44, 2:62]))


def test_cutmix_sheet_paints_the_labels(captions: list[list[str]]) -> None:
    members = resolve_degradations(["rain", "noise", "blur"])
    synthesizer = Synthesizer(
        members, resolve_composites(["blur+noise"], members), composite_probability=0.3, cutmix_probability=1.0
    )
    photographs, seeds = torch.rand(3, 3, CELL[1], CELL[0]), torch.arange(3)
    sheet = cutmix_sheet(synthesizer, photographs, seeds, columns=2, cell_px=CELL)
    assert sheet.size == (sheet_size(4, 2)[0], sheet_size(4, 2)[1] + TEXT_PX)
    made = synthesizer(photographs, synthesizer.plan(seeds))
    for sample in range(3):
        row, column = divmod(sample, 2)
        assert same(cell(sheet, row, 2 * column), to_8bit(made.degraded[sample]))
        painted = np.asarray(cell(sheet, row, 2 * column + 1))
        assert np.array_equal(painted, LABEL_COLORS[made.labels[sample].numpy()])
        for name, share in zip(["clean", *synthesizer.names], made.shares[sample], strict=True):
            assert (f"{name} {share:.0%}" in captions[row][2 * column + 1]) == (share >= 0.005)
    legend = np.asarray(sheet.crop((0, sheet.height - TEXT_PX, sheet.width, sheet.height))).reshape(-1, 3)
    for color in LABEL_COLORS[:4]:
        assert (legend == color).all(axis=1).sum() > 100


def test_equal_seeds_give_equal_sheets(photograph: Tensor) -> None:
    rows = [(RandomSnow(), photograph)]
    assert same(severity_sheet(rows, cell_px=CELL), severity_sheet(rows, cell_px=CELL))
    assert not same(severity_sheet(rows, cell_px=CELL), severity_sheet(rows, seed=1, cell_px=CELL))
