"""A few steps of a run in a process of its own, which leaves nothing behind."""

import json
import os
import subprocess
import sys
import tempfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from abair_pl.doctor.plan import Plan
from abair_pl.errors import AbairError, one_line
from abair_pl.fit_process import ending, own_error
from abair_pl.modules.callbacks.throughput import PARTS

WARM_UP_STEPS = 1
_LIMIT_SECONDS = 1800
_OTHERS = ("SLURM_", "TORCHELASTIC_", "PMI_", "OMPI_")
_LAUNCHER = {"WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR"}
_NEVER = 10**9
_LONGEST = 300


@dataclass(frozen=True)
class Measures:
    """What a dry run took on one device.

    Attributes:
        steps: Optimizer steps that were measured.
        step_seconds: Seconds of one of them.
        step_images: Photographs in one of them.
        shares: Share of its time by part; they sum to 1.
        validation_start_seconds: Seconds of a validation beside those of its batches.
        validation_batch_seconds: Seconds of one of its batches.
        validation_samples: Photographs in a whole one, over all devices.
        validation_batch_size: Photographs in one of its batches.
        checkpoint_bytes: Size of a checkpoint.
        parameters: Number of parameters.
        trained_parameters: Of these the trained ones.
        peak_bytes: Most main memory of the training process.
        worker_bytes: Main memory of its loader processes.
        gpu_bytes: Most memory of tensors on the GPU; None on a CPU.
        gpu_reserved_bytes: Most memory that PyTorch took there for them; None on a CPU.
        gpu_total_bytes: What the GPU has; None on a CPU.
    """

    steps: int
    step_seconds: float
    step_images: float
    shares: dict[str, float]
    validation_start_seconds: float
    validation_batch_seconds: float
    validation_samples: int
    validation_batch_size: int
    checkpoint_bytes: int
    parameters: int
    trained_parameters: int
    peak_bytes: int
    worker_bytes: int
    gpu_bytes: int | None
    gpu_reserved_bytes: int | None
    gpu_total_bytes: int | None


def dry_run(plan: Plan, steps: int) -> Measures:
    """Train on one device with its share of the batch, for one step and then some that are measured, and validate.

    Args:
        plan: The run.
        steps: How many are measured, at least 1.

    Raises:
        AbairError: It failed, or took longer than half an hour.
    """
    with tempfile.TemporaryDirectory(prefix="abair-pl-doctor-") as made:
        folder = Path(made)
        result, config, log = folder / "measures.json", folder / "dry_run.yaml", folder / "log"
        config.write_text(yaml.safe_dump(_settings(plan, steps, folder, result)))
        command = [sys.executable, "-P", "-m", "abair_pl.cli", "fit", "--config", str(config)]
        with log.open("w") as stream:
            try:
                done = subprocess.run(  # noqa: S603
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    env=_environment(),
                    timeout=_LIMIT_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                message = f"the dry run did not end within {_LIMIT_SECONDS // 60} minutes"
                raise AbairError(message) from error
        if done.returncode or not result.is_file():
            raise AbairError(_reason(log.read_text(errors="replace"), done.returncode))
        return _measures(json.loads(result.read_text()))


def _settings(plan: Plan, steps: int, folder: Path, result: Path) -> dict[str, Any]:
    """The run's settings for one device and a few steps, with nothing that writes outside a folder, or to W&B."""
    settings, split = deepcopy(plan.settings), plan.split()
    trainer, data = settings["trainer"], settings["data"]["init_args"]
    callbacks = list(trainer["callbacks"] or [])
    for callback in callbacks:
        options = callback.get("init_args") or {}
        options.update({name: str(folder / "kept") for name in ("dirpath", "folder") if options.get(name)})
    recorder = {"class_path": "abair_pl.doctor.recorder.DryRunRecorder", "init_args": {"file": str(result)}}
    trainer |= {
        "accelerator": {"cuda": "gpu"}.get(plan.accelerator, plan.accelerator),
        "devices": 1,
        "num_nodes": 1,
        "strategy": "auto",
        "fast_dev_run": (WARM_UP_STEPS + steps) * split.accumulated,
        "default_root_dir": str(folder),
        "logger": False,
        "callbacks": [*callbacks, recorder],
        "log_every_n_steps": _NEVER,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    data["batch_size"] = split.accumulated * split.each
    tracking = dict.fromkeys(("wandb", "project", "group", "name"))
    settings |= {"tracking": {**tracking, "tensorboard": False, "tags": []}, "ckpt_path": None, "resume": "never"}
    return settings


def _environment() -> dict[str, str]:
    """Of a process by itself, wherever this one runs."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OTHERS) and name not in {*_LAUNCHER, "MASTER_PORT"}
    }
    return {**kept, "WANDB_MODE": "disabled", "PYTHONWARNINGS": "ignore"}


def _reason(text: str, status: int) -> str:
    """Why a process failed: its own error, the signal that ended it, or the last that it said."""
    if (error := own_error(text)) is not None:
        return error
    ended = one_line(ending(text, status))[:_LONGEST]
    return f"the dry run was {ended}, as when memory runs out" if status < 0 else f"the dry run failed: {ended}"


def _measures(found: dict[str, Any]) -> Measures:
    seconds = {part: found["seconds"].get(part, 0.0) for part in PARTS}
    total, steps = sum(seconds.values()), found["steps"]
    start, *moments = found["validation"]
    batches = moments[:-1]
    a_batch = (batches[-1] - batches[0]) / (len(batches) - 1) if len(batches) > 1 else batches[0] - start
    return Measures(
        steps=steps,
        step_seconds=total / steps,
        step_images=found["images"] / steps,
        shares={part: value / total for part, value in seconds.items()},
        validation_start_seconds=max(moments[-1] - start - len(batches) * a_batch, 0.0),
        validation_batch_seconds=a_batch,
        **{name: found[name] for name in _KEPT},
    )


_KEPT = (
    "validation_samples",
    "validation_batch_size",
    "checkpoint_bytes",
    "parameters",
    "trained_parameters",
    "peak_bytes",
    "worker_bytes",
    "gpu_bytes",
    "gpu_reserved_bytes",
    "gpu_total_bytes",
)
"""The measures that are what the recorder wrote."""
