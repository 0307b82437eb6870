"""A run that is told to stop writes a checkpoint and ends well, within seconds."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import SHORT, Phase
from tests.faults.phase_run import losses

LIMIT_S = 10.0


def _wait_for(condition: Callable[[], bool], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def _steps(phase: Phase) -> int:
    return len(losses(phase.folder)) if (phase.folder / "losses-0.jsonl").exists() else 0


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_writes_a_checkpoint_and_ends_well(
    processes: int, make_phase: Callable[..., Phase], tmp_path: Path
) -> None:
    """As schedulers send it: to the loader's processes, too, which leave it to the trainer."""
    phase = make_phase("adapter", tmp_path / "run", processes)
    running = phase.start("--trainer.max_steps=100000", "--trainer.val_check_interval=100000")
    _wait_for(lambda: _steps(phase) >= 3)
    os.killpg(running.pid, signal.SIGTERM)
    start = time.monotonic()
    said, _ = running.communicate(timeout=60)
    assert time.monotonic() - start < LIMIT_S
    assert "stopped by SIGTERM at step" in said
    assert not phase.weights, "it is not done"
    if processes == 1:  # torchrun itself ends with an error at a signal, whatever its processes do
        assert running.returncode == 0, said[-3000:]
    done = _steps(phase)
    assert int(phase.checkpoints[-1].stem.removeprefix("step-")) == done
    status, said = phase.run("--resume=auto", f"--trainer.max_steps={done + 5}")
    assert status == 0, said[-3000:]
    assert _steps(phase) == done + 5
    assert phase.weights


@pytest.mark.parametrize("moment", ["on_train_batch_start", "on_validation_start"])
def test_a_stopped_run_goes_on_exactly(
    moment: str, short_run: Phase, make_phase: Callable[..., Phase], tmp_path: Path
) -> None:
    stopped = make_phase("estimator", tmp_path / "stopped")
    status, said = stopped.run(*SHORT, moment=moment, step=4, number=int(signal.SIGTERM))
    assert (status, "stopped by SIGTERM" in said) == (0, True), said[-3000:]
    status, said = stopped.run(*SHORT, "--resume=auto")
    assert status == 0, said[-3000:]
    assert losses(stopped.folder) == losses(short_run.folder)
    assert stopped.weights == short_run.weights


def test_under_slurm_the_signal_before_the_end_puts_the_job_back(
    make_phase: Callable[..., Phase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"JOB_ID": "71", "ARRAY_JOB_ID": "70", "ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    phase = make_phase("adapter", tmp_path / "run")
    status, said = phase.run(moment="on_train_batch_start", step=2, number=int(signal.SIGUSR1))
    assert status == 0, said[-3000:]
    assert (tmp_path / "asked").read_text() == "requeue 70_3\n"
    assert "job 70_3 is back in the queue" in said
    assert [path.stem for path in phase.checkpoints] == ["step-000000003"]
