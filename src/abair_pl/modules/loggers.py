"""The loggers of W&B and TensorBoard, and how a W&B run is closed."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from abair_pl.errors import InputError
from abair_pl.modules.tracking import RunIdentity, TrackingConfig, going_on, tells_a_secret

_KNOWN_ERRORS = {
    "Neither `tensorboard` nor": (
        "the package tensorboard is not installed; expected for its logger: pip install 'abair-pl[tensorboard]'"
    ),
    "cannot be uploaded in offline mode": (
        "the W&B logger has log_model and is offline, where checkpoints cannot be sent; expected one of the two: "
        "leave out log_model, the bundle is kept as an artifact anyway"
    ),
}
"""What loggers say that cannot be made, and what is said instead."""


class SteadyWandbLogger(WandbLogger):
    """W&B's logger, whose errors end no training."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log measures."""
        with going_on("to log measures"):
            super().log_metrics(metrics, step)

    def finalize(self, status: str) -> None:
        """Send what is left."""
        with going_on("to finalize the run"):
            super().finalize(status)


def make_loggers(config: TrackingConfig, identity: RunIdentity | None, folder: Path) -> list[Logger]:
    """The loggers of W&B and TensorBoard, as far as they are wanted.

    Args:
        config: Which.
        identity: Which run it is, for W&B; None without it.
        folder: Where they write.
    """
    loggers: list[Logger] = []
    if config.wandb is not None and identity is not None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"mode": "offline", "quiet": True} if config.wandb == "offline" else {}
        if any(tells_a_secret(word) for word in sys.argv):
            options["x_disable_meta"] = True  # the command line is among it
        logger = SteadyWandbLogger(
            identity.name,
            folder,
            version=identity.record.run,
            project=identity.record.project,
            group=identity.record.group,
            job_type=identity.job_type,
            tags=config.tags,
            settings=wandb.Settings(**options),
        )
        loggers.append(logger)
    if config.tensorboard:
        loggers.append(TensorBoardLogger(folder, "tensorboard", default_hp_metric=False))
    return loggers


def logger_error(error: BaseException) -> InputError | None:
    """The one line for an error of a logger that the user can do something about, or None for another error."""
    if type(error).__module__.startswith("wandb.errors"):
        said = str(error).rstrip(".")
        return InputError(f"W&B: {said}; or keep the run on this machine: --tracking.wandb offline")
    lines = [line for found, line in _KNOWN_ERRORS.items() if found in str(error)]
    return InputError(lines[0]) if lines else None


def open_run() -> Any:
    """W&B's open run in this process, or None; W&B is not imported for it."""
    return getattr(sys.modules.get("wandb"), "run", None)


def finish_run(before: Any, failed: bool) -> None:
    """Close the W&B run that was opened since, and say how to send it if it is offline.

    Args:
        before: What :func:`open_run` gave at the start; that one stays open.
        failed: Whether the work failed.
    """
    run = open_run()
    if run is None or run is before:
        return
    with going_on("to finish the run"):
        folder, offline = Path(run.dir).parent, run.offline
        run.finish(exit_code=int(failed))
        if offline:
            print(f"this run is tracked offline; to send it to W&B: wandb sync {shlex.quote(str(folder))}")
