"""One run of two processes, killed twenty times, ends as one that was left alone."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import yaml
from tests.faults.conftest import Phase
from tests.faults.phase_run import losses

from abair_pl.modules.checkpoint_files import damage

KILLS = 20
STEPS = 400
MOMENTS = [
    "on_train_batch_start",
    "on_after_backward",
    "on_train_batch_end",
    "on_save_checkpoint",
    "on_validation_start",
]
OPTIONS = (f"--trainer.max_steps={STEPS}", "--trainer.val_check_interval=16", "--trainer.limit_val_batches=2")
MOST_STEPS = 18
"""Between two kills, so that there is something left to do for all of them."""


def _steps(phase: Phase) -> int:
    return max(losses(phase.folder), default=0) if (phase.folder / "losses-0.jsonl").exists() else 0


def _family(process: int) -> list[int]:
    """A process's ranks and their loaders: all below it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [descendant for child in map(int, children) for descendant in (child, *_family(child))]


def _kill_from_outside(running: "subprocess.Popen[str]", phase: Phase, step: int, chance: Random) -> str:
    """Kill a rank or a loader's process, some time after a step."""
    while _steps(phase) < step and running.poll() is None:
        time.sleep(0.02)
    time.sleep(chance.uniform(0.0, 0.4))
    victim = chance.choice(_family(running.pid))
    os.kill(victim, signal.SIGKILL)
    return f"process {victim} after step {step}"


@pytest.mark.slow
def test_twenty_kills_change_nothing(make_phase: Callable[..., Phase], tmp_path: Path) -> None:
    """Any rank or loader, at any moment: in a step, while a checkpoint is written, in a validation, in a read."""
    chance = Random(2411)
    whole, killed = (make_phase("estimator", tmp_path / name, 2) for name in ("whole", "killed"))
    for phase in (whole, killed):
        phase.checkpoints_are = {"every_n_steps": 5, "keep": 2}
    status, said = whole.run(*OPTIONS)
    assert status == 0, said[-3000:]
    history = []
    for number in range(KILLS):
        step = _steps(killed) + chance.randrange(1, MOST_STEPS)
        rank, delay_s = chance.randrange(2), chance.choice([0.0, chance.uniform(0.001, 0.05)])
        if number % 3 == 2:
            running = killed.start(*OPTIONS, "--resume=auto")
            history.append(_kill_from_outside(running, killed, step, chance))
        else:
            moment = MOMENTS[number % len(MOMENTS)]
            running = killed.start(*OPTIONS, "--resume=auto", moment=moment, step=step, rank=rank, delay_s=delay_s)
            history.append(f"rank {rank} {delay_s:.3f} s after {moment} from step {step} on")
        said, _ = running.communicate(timeout=300)
        assert running.returncode != 0, f"{history[-1]} did not end the run: {said[-3000:]}"
        assert all(damage(path) is None for path in killed.checkpoints), history[-1]
    print("\n".join(history))
    status, said = killed.run(*OPTIONS, "--resume=auto")
    assert status == 0, said[-3000:]
    for rank in range(2):
        assert losses(killed.folder, rank) == losses(whole.folder, rank)
    assert killed.weights == whole.weights
    _check_files(killed.folder)
    assert not killed.half_written()
    assert len(killed.checkpoints) == 2


def _check_files(folder: Path) -> None:
    """All that can be read as what it says that it is, can."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    for path in folder.rglob("*.yaml"):
        yaml.safe_load(path.read_text())
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"]
