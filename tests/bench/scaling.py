"""Weak scaling: two processes pinned to a core each, with DDP, against twice what one process does alone.

Each trains phase I through the command line, with the same batch a process, loading and degrading included; they take
turns, so that a drifting machine drifts for both. ``python -m tests.bench.scaling [ROUNDS]``.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from tests.bench.loader import save_photographs

from abair_pl.data.shards.build import build_shards

ROOT = Path(__file__).parents[2]
ROUNDS = 4
STEPS = 24
WARMUP = 6
BATCH = 8
PATCH_PX = 128


class StepClock(Callback):
    """Writes the seconds of a step: their median, their first decile, and the median of this process's own time in it.

    Of rank 0, after steps that warm up. The decile is of steps in which nobody else had the cores.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.times: list[tuple[float, float]] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            steps = np.diff(self.times[WARMUP:-1], axis=0)  # the last one writes a checkpoint
            passed, own = np.median(steps, axis=0).tolist()
            undisturbed = float(np.quantile(steps[:, 0], 0.1))
            self.file.write_text(json.dumps({"passed": passed, "undisturbed": undisturbed, "own": own}))


def seconds_of_a_step(cores: list[int], shards: Path, scratch: Path) -> dict[str, float]:
    """Train in as many processes as cores."""
    result = scratch / "seconds.json"
    result.unlink(missing_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "abair_pl.cli", "fit", "--config", "configs/pretrain.yaml"),
        *("--config", "configs/trainer/ddp.yaml", "--model.preset", "tiny", "--model.save_to", str(scratch / "bundle")),
        *("--data.train", str(shards), "--data.val", str(shards), "--data.workers", "0", "--data.shuffle_buffer", "50"),
        *("--data.patch_px", str(PATCH_PX), "--data.batch_size", str(BATCH * len(cores))),
        *("--trainer.accelerator", "cpu", "--trainer.devices", str(len(cores)), "--trainer.max_steps", str(STEPS)),
        *("--trainer.limit_val_batches", "0", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"),
        *("--trainer.default_root_dir", str(scratch / "run"), "--trainer.enable_model_summary", "false"),
        *("--trainer.callbacks+=tests.bench.scaling.StepClock", f"--trainer.callbacks.file={result}"),
    ]
    if len(cores) == 1:
        command += ["--trainer.strategy", "auto"]
    running = []
    for rank, core in enumerate(cores):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        if len(cores) > 1:
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
            environment |= {"NODE_RANK": "0", "WORLD_SIZE": str(len(cores)), "GLOO_SOCKET_IFNAME": "lo"}
        pinned = ["taskset", "--cpu-list", str(core), *command]
        running.append(subprocess.Popen(pinned, cwd=ROOT, env=environment, stdout=-3, stderr=subprocess.PIPE))
    for process in running:
        _, error = process.communicate()
        if process.returncode:
            raise RuntimeError(error.decode()[-2000:])
    seconds: dict[str, float] = json.loads(result.read_text())
    return seconds


def bench_scaling(rounds: int = ROUNDS) -> float:
    """Print and return the images per second of two processes over twice those of one."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        print("\nweak scaling: there is one core only, so it is left out")
        return float("nan")
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        save_photographs(scratch / "photographs")
        build_shards(scratch / "photographs", scratch / "shards", samples_per_shard=25, workers=1)
        taken: dict[int, list[dict[str, float]]] = {1: [], 2: []}
        print(f"\nweak scaling, {BATCH} patches of {PATCH_PX} px a process, {STEPS} steps a round, preset tiny")
        for index in range(rounds):
            for chosen in ([cores[index % 2]], cores):
                taken[len(chosen)].append(seconds_of_a_step(chosen, scratch / "shards", scratch))
            alone, both = taken[1][-1]["passed"], taken[2][-1]["passed"]
            print(
                f"  one {BATCH / alone:6.1f} images/s, two {2 * BATCH / both:6.1f} images/s, "
                f"ratio {alone / both:.2f} (load {os.getloadavg()[0]:.1f})",
                flush=True,
            )
    ratios = {
        name: float(np.median([each[name] for each in taken[1]]) / np.median([each[name] for each in taken[2]]))
        for name in ("passed", "undisturbed", "own")
    }
    print(
        f"  of twice one process, two reach {ratios['passed']:.2f}; in undisturbed steps {ratios['undisturbed']:.2f}, "
        f"by the processes' own time {ratios['own']:.2f}"
    )
    return ratios["passed"]


if __name__ == "__main__":
    bench_scaling(*map(int, sys.argv[1:2]))
