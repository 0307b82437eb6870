from pathlib import Path
from statistics import fmean

import pytest
import yaml

from abair_pl.errors import InputError
from abair_pl.evaluation import published
from abair_pl.evaluation.published import PublishedTable, published_table, read_tables

ROWS = {
    "table1": 11,
    "table2": 7,
    "table3": 7,
    "table4": 9,
    "table5": 7,
    "table6": 7,
    "table7": 8,
    "table8": 3,
}
FIVE = ["deraining", "dehazing", "denoising", "deblurring", "low_light"]
TASKS = {
    **dict.fromkeys(("table1", "table6", "table7", "table8"), FIVE),
    "table2": ["deraining", "dehazing", "denoising_15", "denoising_25", "denoising_50"],
    "table3": ["rain100h", "hide", "lolv2_real"],
    "table4": ["bit_depth", "jpeg", "desnowing"],
    "table5": ["blur_noise", "blur_jpeg", "haze_snow"],
}
FILE = Path(published.__file__).with_name("published.yaml")


@pytest.fixture(params=ROWS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def table(name: str) -> PublishedTable:
    return published_table(name)


def test_tables_are_those_of_the_paper() -> None:
    assert read_tables(FILE).keys() == ROWS.keys()


def test_rows_and_columns(name: str, table: PublishedTable) -> None:
    assert len(table.rows) == ROWS[name]
    assert list(table.datasets) == TASKS[name]
    assert len({row.method for row in table.rows}) == len(table.rows)
    assert "2411.18412" in table.source
    assert table.model_parameters == "59M"


def test_values_are_plausible(table: PublishedTable) -> None:
    scores = [score for row in table.rows for score in (*row.scores.values(), row.average) if score is not None]
    assert len(scores) >= len(table.rows)
    assert all(10.0 < score.psnr < 40.0 for score in scores)
    assert all(0.35 < score.ssim < 0.99 for score in scores if score.ssim is not None)


def test_averages_are_the_means_of_their_rows(table: PublishedTable) -> None:
    for row in table.rows:
        if row.average is None or row.scores.keys() != table.datasets.keys():
            continue
        found = fmean(score.psnr for score in row.scores.values())
        if row.method == "ABAIR Oracle (paper)":  # the paper's own figure, which a note tells of
            assert (row.average.psnr, round(found, 2)) == (31.39, 31.52)
            assert any("31.39" in note and "31.52" in note for note in table.notes)
        else:
            assert found == pytest.approx(row.average.psnr, abs=0.011)
        if row.average.ssim is not None:
            ssims = [score.ssim for score in row.scores.values() if score.ssim is not None]
            assert fmean(ssims) == pytest.approx(row.average.ssim, abs=0.005)


def test_paper_methods_cannot_be_taken_for_ours(table: PublishedTable) -> None:
    assert not any("ours" in row.method.lower() for row in table.rows)
    assert all(row.method.endswith("(paper)") for row in table.rows if "ABAIR" in row.method)


def test_some_figures() -> None:
    first = published_table("table1").rows[0]
    assert (first.method, first.parameters) == ("AirNet", "9M")
    assert first.scores["dehazing"].psnr == 21.04
    starred = published_table("table4").rows[-2]
    assert starred.method == "ABAIR OH* (paper)"
    assert (starred.scores["jpeg"].psnr, starred.scores["jpeg"].ssim) == (30.82, 0.943)
    assert [row.parameters for row in published_table("table6").rows] == [None] * 4 + ["3.6M", "7.2M", "14.3M"]


def test_what_the_summary_lacks_stays_missing() -> None:
    cut = published_table("table7")
    assert cut.rows[-1].method == "Conv-LoRA rank 8"
    for row in cut.rows:
        assert row.scores["deblurring"].ssim is None
        assert "low_light" not in row.scores
        assert row.average is None
    assert any("cuts this table off" in note for note in cut.notes)
    blends = published_table("table8")
    assert blends.rows == published_table("table1").rows[-3:]
    assert any("sum and average are not known" in note for note in blends.notes)
    assert all(not row.scores for row in published_table("table6").rows)


def test_unknown_table_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown published table 'table9'; .* did you mean"):
        published_table("table9")


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("32.98, 0.951", "0.951, 32.98", "PSNR 0.951 dB"),
        ("32.98, 0.951", "32.98, 9.51", "SSIM 9.51"),
        ("32.98, 0.951", "32.98", "ValueError"),
        ("32.98, 0.951", "high, 0.951", "TypeError"),
        ("source: ", "origin: ", "'source'"),
        ("method: AirNet", "name: AirNet", "'method'"),
        ("tables:", "tables: [", "ParserError"),
    ],
)
def test_damaged_file_is_an_error(tmp_path: Path, old: str, new: str, found: str) -> None:
    file = tmp_path / "damaged.yaml"
    file.write_text(FILE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=f"damaged.yaml.*{found}.*expected tables as in published.yaml"):
        read_tables(file)


def test_file_says_where_its_figures_are_from() -> None:
    assert yaml.safe_load(FILE.read_text(encoding="utf-8"))["source"].startswith("arXiv 2411.18412")


def test_tables_side_by_side_have_the_methods_of_both() -> None:
    """What the paper's Figure 1 compares, and the columns that it has."""
    table = published_table("table1+table4+table5")
    assert len(table.datasets) == 11
    methods = ["IDR", "X-Restormer", "DiffUIR", "Restormer", "PromptIR", "ABAIR OH (paper)", "ABAIR SW (paper)"]
    assert [row.method for row in table.rows] == methods
    for row in table.rows:
        assert row.scores.keys() == table.datasets.keys()
        assert row.average is None
    assert table.rows[-1].scores["blur_noise"].psnr == 25.14
    with pytest.raises(InputError, match="unknown published table 'table9'"):
        published_table("table1+table9")


@pytest.mark.parametrize(
    ("name", "sums"),
    [
        ("table1", (1910.79, 58.9, 66)),
        ("table2", (1327.69, 31.707, 42)),
        ("table3", (459.38, 14.913, 21)),
        ("table4", (662.46, 21.446, 27)),
        ("table5", (477.38, 15.461, 21)),
        ("table6", (214.67, 6.403, 7)),
        ("table7", (1041.65, 22.745, 32)),
        ("table8", (562.9, 16.58, 18)),
    ],
)
def test_numbers_are_those_that_were_compared_with_the_source(name: str, sums: tuple[float, float, int]) -> None:
    """Sums over all rows, averages included, from when each number was held against the source."""
    rows = published_table(name).rows
    scores = [score for row in rows for score in (*row.scores.values(), *([row.average] if row.average else []))]
    psnr, ssim = (
        sum(value for value in values if value is not None)
        for values in zip(*((s.psnr, s.ssim) for s in scores), strict=True)
    )
    assert (round(psnr, 2), round(ssim, 3), len(scores)) == sums
