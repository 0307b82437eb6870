import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from abair_pl.errors import AbairError, InputError
from abair_pl.evaluation.ablation.fits import arguments, fit, fit_settings

CONFIGS = Path(__file__).parents[3] / "configs"
ADAPTER = CONFIGS / "adapter.yaml"


def settings(options: dict[str, Any], config: Path = ADAPTER) -> Any:
    return json.loads(fit_settings(config, tuple(arguments(options))))


def test_options_arrive_as_they_are() -> None:
    method = {"class_path": "abair_pl.models.adapters.VeRA", "init_args": {"rank": 8}}
    found = settings(
        {
            "data.train": {"a folder/with spaces": 4, "s3://b/{000..003}.tar": 1},
            "data.val": "a folder/{000..003}.tar",
            "data.cache_dir": None,
            "data.synthesis.composites": ["blur+noise"],
            "model.adapter": method,
            "model.optimization.learning_rate": 1e-05,
            "trainer.enable_progress_bar": False,
        }
    )
    data, model = found["data"]["init_args"], found["model"]["init_args"]
    assert data["train"] == {"a folder/with spaces": 4.0, "s3://b/{000..003}.tar": 1.0}
    assert (data["val"], data["cache_dir"]) == ("a folder/{000..003}.tar", None)
    assert data["synthesis"]["composites"] == ["blur+noise"]
    assert model["adapter"] == {**method, "init_args": {"rank": 8, "seed": 0}}, "nothing of the LoRA that was there"
    assert model["optimization"]["learning_rate"] == 1e-05
    assert found["trainer"]["enable_progress_bar"] is False


def test_saying_the_default_changes_nothing() -> None:
    plain = settings({})
    assert settings({"model.adapter.rank": 4, "data.patch_px": 128}) == plain
    assert settings({"model.adapter.rank": 8}) != plain


@pytest.mark.parametrize(
    ("option", "value"),
    [("model.adapter.rnk", 4), ("data.batch_size", "many"), ("trainer.max_stepz", 5), ("nothing", 1)],
)
def test_an_option_that_is_none_is_refused(option: str, value: object) -> None:
    with pytest.raises(InputError, match=option.rpartition(".")[2]) as error:
        settings({option: value})
    assert "\n" not in str(error.value)


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        settings({}, tmp_path / "nowhere.yaml")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "noise.log"


def runs_as(script: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a shell script take the place of Python."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(file))


def test_a_fit_is_the_command_of_a_user(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_as('for word in "$@"; do echo "<$word>"; done; echo "$OMP_NUM_THREADS" >&2', monkeypatch, log.parent)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    log.write_text("an earlier try\n" * 100)
    fit(ADAPTER, ["--data.train=a b", '--model.adapter={"rank": 4}'], log)
    words = ["-m", "abair_pl.cli", "fit", "--config", str(ADAPTER), "--data.train=a b", '--model.adapter={"rank": 4}']
    assert log.read_text().splitlines() == [*(f"<{word}>" for word in words), "7"]


def test_fits_side_by_side_share_the_cores(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_as('echo "$OMP_NUM_THREADS"', monkeypatch, log.parent)
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    fit(ADAPTER, [], log, jobs=4)
    assert log.read_text() == "2\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'abair-pl: error: no shards; build some' >&2; echo 'goodbye'; exit 2", "no shards; build some"),
        ("printf 'Traceback ...\\nRuntimeError: CUDA out of memory\\n\\n'; exit 1", "RuntimeError: CUDA out of memory"),
        ("printf 'Epoch 0: 1%%\\rEpoch 0: 2%%'; kill -9 $$", r"ended by a signal \(Killed\)"),
        ("exit 3", "exit status 3"),
    ],
)
def test_a_fit_that_fails_is_one_line_with_its_log(
    script: str, reason: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_as(script, monkeypatch, log.parent)
    with pytest.raises(AbairError, match=f"/noise failed: {reason} \\(see {log}\\); .*run the same command") as error:
        fit(ADAPTER, [], log)
    assert "\n" not in str(error.value)


def test_two_processes_do_not_train_the_same(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose parent was killed goes on, and is not disturbed."""
    runs_as(f"sleep 60 & echo $! > {log.parent}/pid; echo first", monkeypatch, log.parent)
    fit(ADAPTER, [], log)
    process = int((log.parent / "pid").read_text())
    try:
        with pytest.raises(AbairError, match=f"another process trains this and writes {log}; wait for it"):
            fit(ADAPTER, [], log)
        assert log.read_text() == "first\n"
    finally:
        os.kill(process, 9)
    runs_as("echo second", monkeypatch, log.parent)
    _fit_soon(log)
    assert log.read_text() == "second\n"


def _fit_soon(log: Path) -> None:
    """Fit once the process that was killed is gone."""
    deadline = time.monotonic() + 20
    while True:
        try:
            fit(ADAPTER, [], log)
        except AbairError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


def test_where_there_are_no_locks_it_trains_all_the_same(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    runs_as("echo trained", monkeypatch, log.parent)
    fit(ADAPTER, [], log)
    assert log.read_text() == "trained\n"
