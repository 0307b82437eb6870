import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from abair_pl.modules import loggers as loggers_module
from abair_pl.modules.loggers import finish_run, logger_error, make_loggers, open_run
from abair_pl.modules.tracking import RunIdentity, RunRecord, TrackingConfig

IDENTITY = RunIdentity(RunRecord("a project", "a group", "1a2b3c4d"), "adapter-rain", "adapter")


def test_loggers_are_those_that_are_wanted(tmp_path: Path) -> None:
    assert make_loggers(TrackingConfig(), IDENTITY, tmp_path) == []
    loggers = make_loggers(TrackingConfig("offline", tensorboard=True, tags=["a"]), IDENTITY, tmp_path / "new")
    board = loggers[1]
    assert isinstance(board, TensorBoardLogger)
    assert board.log_dir == str(tmp_path / "new" / "tensorboard" / "version_0")
    told = options(loggers[0])
    expected = {"name": "adapter-rain", "id": "1a2b3c4d", "project": "a project", "group": "a group", "resume": "allow"}
    expected |= {"job_type": "adapter", "dir": str(tmp_path / "new")}
    assert {**told, **expected} == told
    assert told["tags"] == ["a"]
    assert (told["settings"].mode, told["settings"].quiet) == ("offline", True)
    assert (tmp_path / "new").is_dir(), "or W&B would warn"


def options(logger: Any) -> dict[str, Any]:
    """What a W&B logger will start its run with."""
    assert isinstance(logger, WandbLogger)
    found: dict[str, Any] = logger._wandb_init
    return found


def test_online_leaves_the_mode_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose environment variable WANDB_MODE then works."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    (logger,) = make_loggers(TrackingConfig("online"), IDENTITY, tmp_path)
    assert "mode" not in options(logger)
    assert "mode" not in options(logger)["settings"].model_fields_set


@pytest.mark.parametrize(
    ("word", "hidden"),
    [
        ("--data.train=https://host/a.tar", False),
        ('--data.train=["https://host/a.tar","s3://bucket/b.tar"]', False),
        ("--data.train=https://me:word@host/a.tar", True),
        ('--data.train=["https://host/a.tar","https://me:word@host/b.tar"]', True),
        ('{"https://host/a.tar": 1, "https://host/b.tar?sign=1": 2}', True),
        ("pipe:curl -H Authorization", True),
        ("--trainer.logger.api_key=word", True),
        ("--logger.APIKEY", True),
    ],
)
def test_the_command_line_is_not_sent_if_it_holds_a_password(
    word: str, hidden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["abair-pl", "fit", word])
    (logger,) = make_loggers(TrackingConfig("offline"), IDENTITY, tmp_path)
    assert options(logger)["settings"].x_disable_meta is hidden


def test_other_errors_are_not_those_of_loggers() -> None:
    assert logger_error(ValueError("something else")) is None


class Run:
    """An open W&B run."""

    def __init__(self, offline: bool) -> None:
        self.dir, self.offline = "runs/wandb/offline-run-1/files", offline
        self.ended: list[int] = []

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Run]:
    """Make a run the open one."""

    def make(offline: bool) -> Run:
        run = Run(offline)
        monkeypatch.setattr(loggers_module, "open_run", lambda: run)
        return run

    return make


@pytest.mark.parametrize("failed", [False, True])
def test_the_end_of_an_offline_run_gives_the_command(
    failed: bool, opened: Callable[[bool], Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(True)
    finish_run(None, failed)
    assert run.ended == [int(failed)]
    assert capsys.readouterr().out.endswith("wandb sync runs/wandb/offline-run-1\n")


def test_the_end_of_an_online_run_is_silent(opened: Callable[[bool], Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = opened(False)
    finish_run(None, failed=False)
    assert run.ended == [0]
    assert capsys.readouterr().out == ""


def test_a_folder_with_a_space_is_quoted(opened: Callable[[bool], Run], capsys: pytest.CaptureFixture[str]) -> None:
    opened(True).dir = "my runs/wandb/offline-run-1/files"
    finish_run(None, failed=False)
    assert capsys.readouterr().out.endswith("wandb sync 'my runs/wandb/offline-run-1'\n")


def test_a_run_that_cannot_be_finished_is_one_line(
    opened: Callable[[bool], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        message = "no disk\nspace"
        raise ValueError(message)

    monkeypatch.setattr(opened(True), "finish", refuse)
    with pytest.warns(UserWarning, match=r"W&B failed to finish the run \(no disk space\); the run goes on without it"):
        finish_run(None, failed=False)


def test_a_run_that_was_open_before_stays_open(opened: Callable[[bool], Run]) -> None:
    run = opened(True)
    finish_run(run, failed=False)
    assert run.ended == []


def test_wandb_is_not_imported_to_look_for_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert open_run() is None
    assert "wandb" not in sys.modules


def test_an_error_of_wandb_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        message = "the service has died"
        raise RuntimeError(message)

    (logger,) = make_loggers(TrackingConfig("offline"), IDENTITY, tmp_path)
    for name in ("log_metrics", "finalize"):
        monkeypatch.setattr(WandbLogger, name, fail)
    with pytest.warns(UserWarning, match=r"W&B failed to log measures \(the service has died\); the run goes on"):
        logger.log_metrics({"train/loss": 1.0}, 3)
    with pytest.warns(UserWarning, match="W&B failed to finalize the run"):
        logger.finalize("success")
