import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from abair_pl.atomic import locked
from abair_pl.cli import main

REPORT = {"results.json", "results.csv", "table.md", "table.tex", "report.html", "histograms.svg", "histograms.png"}


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    """Two tasks by three methods, as YAML."""
    task = {"layout": "folder", "dataset": "Kodak24", "root": "Kodak24"}
    tasks = {
        "denoising": {"title": "Denoising", **task, "degrade": "noise:sigma=25", "oracle": "noise"},
        "dehazing": {"title": "Dehazing", **task, "degrade": "haze:severity=0.5", "oracle": "haze"},
        "deraining": {"title": "Deraining", "dataset": "Rain100L", "layout": "rain100l", "root": "Rain100L"},
    }
    methods = {blend: {"title": blend, "blend": blend} for blend in ("none", "soft", "oracle")}
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump({"title": "a suite", "tasks": tasks, "methods": methods}, sort_keys=False))
    return file


def options(suite: Path, bundle: Path, photos: Path, output: Path) -> list[str]:
    places = ["--suite", str(suite), "--bundle", str(bundle), "--photos", str(photos), "--output", str(output)]
    return ["benchmark", *places, "--device", "cpu"]


def run(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "abair_pl.cli", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )


def report_of(output: Path) -> dict[str, bytes]:
    """All files of a report, by their paths; records hold times, and examples are their own test's."""
    files = [path for path in output.rglob("*") if path.is_file()]
    places = {str(path.relative_to(output)): path for path in files}
    return {place: path.read_bytes() for place, path in places.items() if not place.startswith(("records", "examples"))}


def test_a_suite_gives_tables_figures_and_a_page(
    suite_file: Path, bundle_path: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(suite_file, bundle_path, photographs, tmp_path / "out")) == 0
    shown = capsys.readouterr().out
    assert "skipped: deraining: no --data to look for Rain100L in" in shown
    assert "stand-in: denoising: no --data to look for Kodak24 in" in shown
    assert "seconds per megapixel" in shown
    assert {path.name for path in (tmp_path / "out").iterdir()} >= REPORT
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in shown
    assert "Rain100L" in table, "a task that was skipped is still in the table"
    assert not list((tmp_path / "out").glob(".lock"))


def test_a_classical_method_is_a_row_with_a_note_and_its_speed(
    suite_file: Path, bundle_path: Path, two_photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(suite_file.read_text())
    values["methods"] = {"soft": {"title": "SW"}, "nlm": {"title": "NLM", "classical": "non_local_means"}}
    suite_file.write_text(yaml.safe_dump(values, sort_keys=False))
    assert main(options(suite_file, bundle_path, two_photographs, tmp_path / "out")) == 0
    shown = capsys.readouterr().out
    assert "skipped: nlm" not in shown
    assert re.search(r"seconds per megapixel, over all runs: SW \d+\.\d\d, NLM \d+\.\d\d\n", shown)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "- NLM is for noise alone, and learns nothing: OpenCV's fastNlMeansDenoisingColored" in table
    assert "NLM on" not in table
    assert "it is told the standard deviation of the noise" in table
    (line,) = [line for line in table.splitlines() if line.startswith("| NLM")]
    assert line.count("\N{EM DASH}") == 4, "two tasks, the average and the parameters"
    found = json.loads((tmp_path / "out" / "results.json").read_text())["methods"]["nlm"]
    assert found["classical"] == "non_local_means"
    assert found["parameters"] is None
    assert "blend" not in found


def test_killed_half_way_it_computes_the_rest_and_reports_the_same(
    suite_file: Path, bundle_path: Path, photographs: Path, tmp_path: Path
) -> None:
    assert main(options(suite_file, bundle_path, photographs, tmp_path / "whole")) == 0
    arguments = options(suite_file, bundle_path, photographs, tmp_path / "killed")
    process = run(arguments)
    records = tmp_path / "killed" / "records" / "rank-00000.jsonl"
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if records.exists() and len(records.read_text().splitlines()) >= 5:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = records.read_text()
    assert 5 <= len(before.splitlines()) < 48, "it was to be killed half way"
    assert not (tmp_path / "killed" / "table.md").exists()
    assert main(arguments) == 0
    assert records.read_text().startswith(before[: before.rfind("\n")]), "what was there is kept"
    keys = [json.loads(line)["key"] for line in records.read_text().splitlines() if line.endswith("}")]
    assert len(keys) == len(set(keys)) == 48, "each once"
    assert report_of(tmp_path / "killed") == report_of(tmp_path / "whole")


def test_two_processes_find_the_same_means_as_one(
    suite_file: Path, bundle_path: Path, photographs: Path, tmp_path: Path
) -> None:
    assert main(options(suite_file, bundle_path, photographs, tmp_path / "one")) == 0
    process = run([*options(suite_file, bundle_path, photographs, tmp_path / "two"), "--devices", "2"])
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert printed.count("written to") == 1, "by the first process alone"
    counts = [len(path.read_text().splitlines()) for path in (tmp_path / "two" / "records").iterdir()]
    assert counts == [24, 24]
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert _numbers(one) == pytest.approx(_numbers(two), abs=1e-9)
    assert len(_numbers(one)) > 20


def test_what_one_process_cannot_do_ends_both_with_its_error(
    suite_file: Path, bundle_path: Path, two_photographs: Path, tmp_path: Path
) -> None:
    broken = two_photographs / "photo-6.png"  # the second image is the second process's
    broken.write_bytes(broken.read_bytes()[:300])
    process = run([*options(suite_file, bundle_path, two_photographs, tmp_path / "out"), "--devices", "2"])
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 2, printed
    assert printed.count("abair-pl: error: task denoising, image ") == 1
    assert "photo-6.png" in printed
    assert "Traceback" not in printed


def _numbers(values: object) -> list[float]:
    if isinstance(values, dict):
        return [number for value in values.values() for number in _numbers(value)]
    if isinstance(values, list):
        return [number for value in values for number in _numbers(value)]
    return [float(values)] if isinstance(values, int | float) else []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--suite", "nowhere.yaml"], "no suite at nowhere.yaml"),
        (["--bundle", "nowhere"], "no bundle at nowhere"),
        (["--bundle", "a", "b"], "bundle 'main' is given twice"),
        (["--photos", "nowhere"], "no image at nowhere"),
        (["--tile-px", "10"], "expected an overlap below half a tile"),
        (["--devices", "0"], "devices are 0 and nodes 1; expected at least 1 of each"),
        pytest.param(
            ["--device", "cuda"],
            "no CUDA device here; expected --device cpu or auto",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    suite_file: Path,
    bundle_path: Path,
    photographs: Path,
    tmp_path: Path,
    change: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*options(suite_file, bundle_path, photographs, tmp_path / "out"), *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_any_images_there_is_nothing_to_measure(
    suite_file: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmark", "--suite", str(suite_file), "--bundle", str(bundle_path), "--output", str(tmp_path / "o")]
    assert main([*arguments, "--data", str(tmp_path)]) == 2
    assert "expected --data with data sets, or --photos" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_two_benchmarks_in_one_folder_are_refused(
    suite_file: Path, bundle_path: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path / "out", tidy=True):
        assert main(options(suite_file, bundle_path, photographs, tmp_path / "out")) == 2
    assert "another benchmark writes to" in capsys.readouterr().err
