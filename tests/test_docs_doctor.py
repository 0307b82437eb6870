"""What docs/doctor.md says is what the command prints."""

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from abair_pl.doctor import dry_run, forecast, output, slurm
from abair_pl.doctor.command import doctor
from abair_pl.doctor.dry_run import Measures
from abair_pl.doctor.forecast import Forecast
from abair_pl.doctor.packages import TESTED
from abair_pl.doctor.shards import Verified

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "doctor.md").read_text()
SOURCE = "".join(path.read_text() for path in (ROOT / "src" / "abair_pl" / "doctor").glob("*.py"))
TAKEN = Measures(
    steps=2,
    step_seconds=0.5,
    step_images=2.0,
    shares={"data": 0.4, "forward_backward": 0.6},
    validation_start_seconds=1.0,
    validation_batch_seconds=0.25,
    validation_samples=8,
    validation_batch_size=1,
    checkpoint_bytes=100,
    parameters=10,
    trained_parameters=5,
    peak_bytes=100,
    worker_bytes=0,
    gpu_bytes=7,
    gpu_reserved_bytes=8,
    gpu_total_bytes=10,
)


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose heading begins so."""
    table = PAGE.partition(f"\n| {first} |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def named(cells: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cells)


@pytest.fixture
def arguments(sample_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What makes the command say all that it can, of a dry run that is not made."""
    monkeypatch.setattr(dry_run, "dry_run", lambda *_: TAKEN)
    for name in ("SLURM_JOB_ID", "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    script = tmp_path / "job.sbatch"
    script.write_text("#SBATCH --nodes=1\n#SBATCH --signal=USR1@120\n#SBATCH --array=0-4\n")
    override = [
        *("model.preset=tiny", f"trainer.default_root_dir={tmp_path}", "trainer.accelerator=cpu"),
        *(f"data.train={sample_shards / 'train'}", f"data.val={sample_shards / 'val'}", "data.workers=0"),
    ]
    shards = str(sample_shards / "train")
    return {
        **{"config": [ROOT / "configs" / "pretrain.yaml"], "override": override, "sbatch": script},
        **{"preset": "tiny", "shards": shards, "output": tmp_path},
    }


def test_table_gives_the_options() -> None:
    options = {f"--{name.replace('_', '-')}" for name in inspect.signature(doctor).parameters}
    assert {name for row in rows("option") for name in named(row[0])} == options
    (steps,) = [row for row in rows("option") if row[0] == "`--steps`"]
    assert inspect.signature(doctor).parameters["steps"].default == int(steps[2])


def test_table_gives_the_keys(arguments: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(**arguments, json=True) == 0  # type: ignore[arg-type]
    found = json.loads(capsys.readouterr().out)
    sizes = {name for name in found if name.endswith("_parameters") or name.startswith("gflops")}
    keys = {name for row in rows("key") for name in named(row[0])}
    assert keys - {"backbone_parameters"} == found.keys() - sizes
    assert "backbone_parameters" in sizes


def test_objects_have_the_keys_that_are_given() -> None:
    texts = {name: row[1] for row in rows("key") for name in named(row[0])}
    assert set(named(texts["forecast"])) == {field.name for field in fields(Forecast)}
    assert set(named(texts["data"])) == {field.name for field in fields(Verified)}


def test_table_gives_the_lines_that_are_printed(
    arguments: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(**arguments) == 0  # type: ignore[arg-type]
    body = capsys.readouterr().out.partition("\nPreset tiny")[0]
    lines = [line for line in body.splitlines() if line.startswith("  ") and line[11:12].strip()]
    printed = {line[11:33].strip() for line in lines}
    given = {name for row in rows("line") for name in named(row[0])} | {*TESTED, "python", "GPU"}
    assert printed <= given
    assert len(printed) > 25


def test_lines_of_the_table_are_there() -> None:
    for name in (name for row in rows("line") for name in named(row[0])):
        assert f'"{name}"' in SOURCE or name == "GPU 0", name


def test_example_has_only_lines_of_the_table() -> None:
    example = PAGE.partition("## The page")[2].split("```")[1].partition("\nno problems")[0]
    given = {name for row in rows("line") for name in named(row[0])} | {*TESTED, "python", "GPU"}
    names = {line[11:33].strip() for line in example.splitlines() if line[11:12].strip()}
    assert len(names) > 25
    assert names <= given


def test_job_scripts_that_are_shipped_fit(arguments: dict[str, object]) -> None:
    scripts = sorted((ROOT / "scripts" / "slurm").glob("*.sbatch"))
    assert scripts
    for script in scripts:
        section = slurm.check_slurm(directives=slurm.read_directives(script), environment={})
        assert not section.marked("problem"), script
        assert not section.marked("warning"), script


def test_numbers_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert "ended after half an hour" in text
    assert dry_run._LIMIT_SECONDS == 1800
    assert f"waiting for data more than {100 * forecast._MOST_WAITING:g} % of it" in text
    assert "four numbers of 32 bits" in text
    assert (output._COPIES, output._BYTES) == (4, 32 // 8)
