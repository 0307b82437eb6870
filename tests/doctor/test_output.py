import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abair_pl.doctor.dry_run import Measures
from abair_pl.doctor.output import check_output
from abair_pl.doctor.plan import Plan

MIB = 2**20


@pytest.fixture
def big() -> Measures:
    """A run with checkpoints of 100 MiB, and 5 MiB of weights."""
    counts: dict[str, Any] = {
        "steps": 1,
        "validation_samples": 1,
        "validation_batch_size": 1,
        "peak_bytes": 1,
        "worker_bytes": 0,
    }
    times: dict[str, Any] = {"step_seconds": 1.0, "step_images": 1.0, "shares": {}}
    gpu: dict[str, Any] = {"gpu_bytes": None, "gpu_reserved_bytes": None, "gpu_total_bytes": None}
    sizes: dict[str, Any] = {
        "checkpoint_bytes": 100 * MIB,
        "parameters": 5 * MIB // 4,
        "trained_parameters": 5 * MIB // 4,
    }
    return Measures(**counts, **times, **gpu, **sizes, validation_start_seconds=0.0, validation_batch_seconds=0.0)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let all disks have so many free MiB."""

    def leave(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**50, 0, free * MIB))

    return leave


def marks(plan: Plan | None, measures: Measures | None, folder: Path | None = None) -> list[str]:
    return [line.mark for line in check_output(folder, plan, measures).lines]


def test_looks_without_leaving_anything(tmp_path: Path) -> None:
    section = check_output(tmp_path / "not" / "yet")
    assert [line.mark for line in section.lines] == ["ok"]
    assert section.facts["free_disk_gib"] == pytest.approx(shutil.disk_usage(tmp_path).free / 2**30, abs=1.0)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    (line,) = check_output(tmp_path / "runs" / "pretrain").lines
    assert line.mark == "problem"
    assert "it is a file" in line.text


def test_a_folder_that_refuses_files_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (line,) = check_output(tmp_path).lines
    assert (line.mark, "Read-only file system" in line.text) == ("problem", True)


def test_three_checkpoints_and_one_that_is_written(plan: Plan, big: Measures) -> None:
    section = check_output(None, plan, big)
    assert [place["needed_bytes"] for place in section.facts["output"]] == [400 * MIB, 10 * MIB]
    assert [place["path"] for place in section.facts["output"]] == [plan.root, plan.model["save_to"]]


def test_room_is_counted_together_for_places_on_one_disk(
    plan: Plan, big: Measures, disk: Callable[[int], None]
) -> None:
    disk(405)
    assert marks(plan, big) == ["warning", "problem"]
    disk(815)
    assert marks(plan, big) == ["ok", "warning"]
    disk(821)
    assert marks(plan, big) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("options", "copies"),
    [
        ({}, 2),
        ({"save_last": True}, 3),
        ({"save_top_k": 5}, 6),
        ({"save_top_k": -1, "every_n_train_steps": 5}, 5),
    ],
)
def test_copies_of_lightnings_own_callback(
    options: dict[str, Any], copies: int, plan: Plan, big: Measures, change: Callable[..., Plan]
) -> None:
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": options}
    section = check_output(None, change(plan, {"trainer.callbacks": [callback]}), big)
    assert section.facts["output"][0]["needed_bytes"] == copies * 100 * MIB


def test_folder_of_checkpoints_and_cache_of_shards(
    plan: Plan, big: Measures, change: Callable[..., Plan], tmp_path: Path
) -> None:
    rolling = {"class_path": "abair_pl.modules.callbacks.RollingCheckpoint", "init_args": {"folder": str(tmp_path)}}
    cached = {"trainer.callbacks": [rolling], "data.cache_dir": str(tmp_path / "cache"), "data.cache_gb": 2.0}
    places = check_output(None, change(plan, cached), big).facts["output"]
    assert places[0]["path"] == str(tmp_path)
    assert places[2] == {**places[2], "path": str(tmp_path / "cache"), "needed_bytes": 2_000_000_000}


@pytest.mark.parametrize(("held", "left"), [(0, 2000), (1500, 500), (2500, 0)])
def test_what_the_cache_holds_needs_no_room(
    held: int, left: int, plan: Plan, big: Measures, change: Callable[..., Plan], tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "one.tar").write_bytes(bytes(held))
    cached = {"data.cache_dir": str(tmp_path), "data.cache_gb": 2e-6}
    assert check_output(None, change(plan, cached), big).facts["output"][2]["needed_bytes"] == left


def test_estimate_from_parameters_is_near_what_is_measured(plan: Plan, measures: Measures) -> None:
    estimated = check_output(None, plan).facts["output"]
    measured = check_output(None, plan, measures).facts["output"]
    for one, other in zip(estimated, measured, strict=True):
        assert one["needed_bytes"] == pytest.approx(other["needed_bytes"], rel=0.02)


def test_size_of_a_phase_with_a_bundle(plan: Plan, change: Callable[..., Plan], bundle_path: Path) -> None:
    weights = sum(file.stat().st_size for file in bundle_path.rglob("*.safetensors"))
    places = check_output(None, change(plan, {"model.init_from": str(bundle_path), "model.preset": None})).facts[
        "output"
    ]
    assert [place["needed_bytes"] for place in places[:2]] == [None, 2 * weights]


def test_places_elsewhere_are_not_looked_at(plan: Plan, change: Callable[..., Plan], big: Measures) -> None:
    section = check_output(None, change(plan, {"trainer.default_root_dir": "s3://bucket/run"}), big)
    assert section.lines[0].text == "s3://bucket/run is not on this machine; not looked at"


def test_unknown_sizes_are_no_problem(plan: Plan, big: Measures, disk: Callable[[int], None]) -> None:
    disk(1)
    assert marks(None, None) == ["ok"]
    assert marks(plan, replace(big, checkpoint_bytes=1, parameters=1)) == ["ok", "ok"]
