"""``abair-pl bundle figures``."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from abair_pl.bundle import Bundle, save_adapter
from abair_pl.bundle_config import read_config, write_config
from abair_pl.card.text import model_card
from abair_pl.cli import main
from abair_pl.models.adapters import LoRA


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def results(bundle_path: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a benchmark of the complete bundle writes; not to be changed."""
    folder = tmp_path_factory.mktemp("benchmark")
    task = {"title": "Denoising", "layout": "folder", "root": "Kodak24"}
    tasks = {
        "one": {**task, "dataset": "Kodak24 at 15", "degrade": "noise:sigma=15", "oracle": "noise"},
        "two": {**task, "dataset": "Kodak24 at 50", "degrade": "noise:sigma=50"},
    }
    methods = {blend: {"title": f"as {blend}", "blend": blend} for blend in ("soft", "oracle")}
    (folder / "suite.yaml").write_text(yaml.safe_dump({"title": "a suite", "tasks": tasks, "methods": methods}))
    places = ["--suite", folder / "suite.yaml", "--photos", photographs, "--output", folder / "output"]
    assert run("benchmark", *places, "--bundle", bundle_path, "--device", "cpu") == 0
    return folder / "output" / "results.json"


def test_the_card_shows_the_means(results: Path, bundle_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_config(bundle_copy)
    assert run("bundle", "figures", bundle_copy, results) == 0
    assert capsys.readouterr().out == f"{bundle_copy}: figures of a suite\n"
    config = read_config(bundle_copy)
    assert replace(config, figures={}) == before
    card = (bundle_copy / "README.md").read_text()
    assert card == model_card(config.values())
    tasks = json.loads(results.read_text())["tasks"]
    assert config.figures["suites"]["a suite"]["Denoising, Kodak24 at 50"].keys() == {"input", "as soft"}, (
        "there is no oracle"
    )
    shown = tasks["two"]["methods"]["soft"]
    assert f"{shown['psnr']:.2f} / {shown['ssim']:.3f}" in card
    assert f"| Denoising, Kodak24 at 15 | {tasks['one']['input']['psnr']:.2f} / " in card.replace("*", "")


def test_tasks_of_one_data_set_have_a_row_each(results: Path, bundle_copy: Path, tmp_path: Path) -> None:
    values = json.loads(results.read_text())
    for name, task in values["tasks"].items():
        task.update(title=f"Task {name}", dataset="Kodak24")
    (tmp_path / "results.json").write_text(json.dumps(values))
    assert run("bundle", "figures", bundle_copy, tmp_path / "results.json") == 0
    rows = list(read_config(bundle_copy).figures["suites"]["a suite"])
    assert rows == ["Task one, Kodak24", "Task two, Kodak24"]


def test_several_files_are_in_order_and_replace_those_before(results: Path, bundle_copy: Path, tmp_path: Path) -> None:
    values = json.loads(results.read_text())
    (tmp_path / "other.json").write_text(json.dumps({**values, "suite": "another"}))
    for files in ([results], [tmp_path / "other.json", results], [tmp_path / "other.json"]):
        assert run("bundle", "figures", bundle_copy, *files) == 0
        titles = ["a suite" if file == results else "another" for file in files]
        assert list(read_config(bundle_copy).figures["suites"]) == titles


def test_a_new_adapter_takes_them_off_the_card(
    results: Path, bundle_copy: Path, make_adapter: Callable[..., Any]
) -> None:
    assert run("bundle", "figures", bundle_copy, results) == 0
    assert "## Figures" in (bundle_copy / "README.md").read_text()
    bundle, method = Bundle.open(bundle_copy), LoRA(rank=1)
    save_adapter(bundle_copy, bundle, "rain", make_adapter(bundle, "rain", method), method, {})
    assert "## Figures" not in (bundle_copy / "README.md").read_text()


def test_figures_of_another_bundle_are_refused(
    results: Path, bundle_copy: Path, backbone_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (bundle_copy / "config.json").read_bytes()
    config = read_config(bundle_copy)
    for change in ({"backbone_sha256": "0" * 64}, {"adapters": {"rain": LoRA()}}):
        write_config(bundle_copy, replace(config, **change))
        changed = (bundle_copy / "config.json").read_bytes()
        assert run("bundle", "figures", bundle_copy, results) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{results} is of preset nano, backbone {config.backbone_sha256[:12]}" in line
        assert (bundle_copy / "config.json").read_bytes() == changed != before


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.clear(),
        lambda values: values.update(tasks=[]),
        lambda values: values["methods"].clear(),
        lambda values: values["tasks"]["one"].update(input=None),
        lambda values: values["tasks"]["one"]["methods"]["soft"].update(psnr="many"),
    ],
)
def test_what_is_no_benchmark_is_refused(
    change: Callable[[dict[str, Any]], None],
    results: Path,
    bundle_copy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = json.loads(results.read_text())
    change(values)
    (tmp_path / "results.json").write_text(json.dumps(values))
    assert run("bundle", "figures", bundle_copy, tmp_path / "results.json") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected the results.json of abair-pl benchmark" in line
    assert read_config(bundle_copy).figures == {}


@pytest.mark.parametrize("text", [None, "", "no JSON", "[1]", "\0", "[" * 100_000], ids=lambda text: repr(text)[:20])
def test_a_damaged_file_is_refused(
    text: str | None, bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    assert run("bundle", "figures", bundle_copy, tmp_path / "results.json") == 2
    assert "results.json cannot be read" in capsys.readouterr().err


def test_without_a_bundle_nothing_is_made(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bundle", "figures", tmp_path / "nowhere", results) == 2
    assert "no bundle at" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
