"""A run that is told to stop writes a checkpoint and ends well; SLURM puts it back into its queue."""

import os
import re
import signal
import subprocess
import threading
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from abair_pl.errors import PreemptedError

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
"""That end a run; of two, the first one counts."""

_JOB = re.compile(r"\d+")
_TIMEOUT_S = 30


class PreemptionHandler(Callback):
    """Notes SIGTERM and SIGUSR1; the module ends the run at the end of the step, on all ranks the same.

    It takes the place of Lightning's handlers, which call other ranks from inside a signal handler. SIGUSR1, which
    SLURM sends before the end of a job's time by ``--signal=USR1@120``, puts the job back into the queue. SIGTERM does
    not: it is also what ``scancel`` sends, and a job that was pre-empted with ``PreemptMode=REQUEUE`` SLURM puts back.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Listen, in training only."""
        if stage != "fit" or threading.current_thread() is not threading.main_thread():
            return
        module = cast("Any", pl_module)

        def note(signal_number: int, frame: Any) -> None:
            if module.stop_signal != signal.SIGUSR1:  # which counts, whatever follows
                module.stop_signal = signal_number

        for number in STOP_SIGNALS:
            self._before[number] = signal.signal(number, note)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Put back what listened before."""
        self._put_back()

    def _put_back(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Put a job of SLURM's back into its queue, when it stops because its time is over."""
        self._put_back()
        module = cast("Any", pl_module)
        stopped = isinstance(exception, PreemptedError) and module.can_go_on and module.stop_agreed == signal.SIGUSR1
        if not stopped or "SLURM_JOB_ID" not in os.environ:
            return
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which SLURM sends to a job that it puts back
        if trainer.is_global_zero:
            _requeue()


def _requeue() -> None:
    names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID") if "SLURM_ARRAY_JOB_ID" in os.environ else ("SLURM_JOB_ID",)
    parts = [os.environ.get(name, "") for name in names]
    job = "_".join(parts)
    if not all(_JOB.fullmatch(part) for part in parts):
        rank_zero_warn(
            f"{' and '.join(names)} are {job!r}; expected numbers: put the job back by: scontrol requeue JOB"
        )
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip()
        rank_zero_warn(f"job {job} was not put back into the queue ({said}); do it by: scontrol requeue {job}")
    else:
        rank_zero_info(f"job {job} is back in the queue")
