from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from abair_pl.errors import AbairError, InputError
from abair_pl.evaluation.report import write_report
from abair_pl.evaluation.results import Example, Results

ALWAYS = {"results.json", "results.csv", "table.md", "table.tex", "report.html"}
PLOTS = {f"{name}.{kind}" for name in ("radar", "histograms") for kind in ("svg", "png")}
STRIPS = {f"strips/{task}.png" for task in ("deraining", "denoising", "deblurring", "low_light")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(results: Results, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "made"
    listed = write_report(results, examples, folder)
    assert {str(path.relative_to(folder)) for path in listed} == contents(folder).keys()
    return folder


def test_all_files_are_there(written: Path) -> None:
    assert contents(written).keys() == ALWAYS | PLOTS | STRIPS


def test_pictures_can_be_opened(written: Path) -> None:
    for name in [name for name in PLOTS | STRIPS if name.endswith(".png")]:
        with Image.open(written / name) as image:
            image.load()
            assert image.format == "PNG"
    assert (written / "radar.svg").read_text().startswith("<?xml")


def test_same_results_give_the_same_bytes(
    written: Path, results: Results, examples: list[Example], tmp_path: Path
) -> None:
    slower = replace(results, records=[replace(record, seconds=9.0) for record in results.records])
    write_report(slower, examples, tmp_path)
    assert contents(tmp_path) == contents(written)


def test_new_report_replaces_the_old_one_and_nothing_else(
    results: Results, examples: list[Example], tmp_path: Path
) -> None:
    (tmp_path / "strips").mkdir()
    for name in ("radar_published.svg", "strips/snow.png", "table.md", "records.jsonl"):
        (tmp_path / name).write_text("earlier")
    few = {"deraining", "denoising"}
    part = replace(results, records=[record for record in results.records if record.task in few])
    listed = write_report(part, [example for example in examples if example.task in few], tmp_path)
    assert listed[-1] == tmp_path / "report.html"
    found = contents(tmp_path)
    assert found.keys() == ALWAYS | {"histograms.svg", "histograms.png", "records.jsonl"} | {
        f"strips/{task}.png" for task in few
    }
    assert found["records.jsonl"] == b"earlier"
    assert found["table.md"] != b"earlier"


def test_report_without_measurements_can_be_written(results: Results, tmp_path: Path) -> None:
    bare = replace(results, records=[], skipped=dict.fromkeys(results.suite.tasks, "no data"))
    assert {path.name for path in write_report(bare, [], tmp_path)} == ALWAYS


def test_folder_in_the_way_of_a_file_is_an_error(results: Results, tmp_path: Path) -> None:
    (tmp_path / "table.md").mkdir()
    bare = replace(results, records=[])
    with pytest.raises(AbairError, match=r"cannot write .*table\.md \(Is a directory\)"):
        write_report(bare, [], tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_file_in_the_way_is_an_error(results: Results, tmp_path: Path) -> None:
    (tmp_path / "made").write_text("")
    with pytest.raises(InputError, match="cannot be a folder"):
        write_report(results, [], tmp_path / "made")
