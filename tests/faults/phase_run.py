"""Runs ``abair-pl`` with a network of toy size, writes down what each rank trains, and dies where it is told to."""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from tests.nano import NANO

from abair_pl.cli import main
from abair_pl.models.presets import PRESETS


class Witness(Callback):
    """Writes the loss of each step, exactly, into ``<folder>/losses-<rank>.jsonl``; sends itself a signal at a moment.

    Args:
        folder: Where it writes.
        moment: A hook of Lightning's, such as ``on_train_batch_start`` or ``on_validation_start``; no signal if empty.
        step: The optimizer step from which on the moment counts.
        rank: Which rank gets the signal.
        number: Which signal; SIGKILL if left out.
        delay_s: How long after the moment it is sent.
    """

    def __init__(
        self, folder: Path, moment: str = "", step: int = 0, rank: int = 0, number: int = 9, delay_s: float = 0.0
    ) -> None:
        self.folder, self.moment, self.step, self.rank = folder, moment, step, rank
        self.number, self.delay_s = number, delay_s

    def _at(self, moment: str, trainer: L.Trainer) -> None:
        if moment == self.moment and trainer.global_step >= self.step and trainer.global_rank == self.rank:
            self.moment = ""
            if self.delay_s:
                threading.Timer(self.delay_s, os.kill, (os.getpid(), self.number)).start()
            else:
                os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._at("on_train_batch_start", trainer)

    def on_after_backward(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._at("on_after_backward", trainer)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *arguments: Any) -> None:
        row = {"step": trainer.global_step, "loss": float(outputs["loss"]).hex()}
        with (self.folder / f"losses-{trainer.global_rank}.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        self._at("on_train_batch_end", trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._at("on_save_checkpoint", trainer)

    def on_validation_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._at("on_validation_start", trainer)

    def on_validation_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._at("on_validation_end", trainer)

    def on_train_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._at("on_train_end", trainer)

    def on_fit_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._at("on_fit_end", trainer)


def losses(folder: Path, rank: int = 0) -> dict[int, str]:
    """The loss by step; of a step that was done twice, the last one, which has to be the same as the first."""
    rows = [json.loads(line) for line in (folder / f"losses-{rank}.jsonl").read_text().splitlines()]
    found: dict[int, str] = {}
    for row in rows:
        if found.setdefault(row["step"], row["loss"]) != row["loss"]:
            message = f"step {row['step']} had the loss {found[row['step']]}, and then {row['loss']}"
            raise AssertionError(message)
    return found


def witness(folder: Path, **options: Any) -> str:
    """The callback as an option of the command line."""
    entry = {"class_path": "tests.faults.phase_run.Witness", "init_args": {"folder": str(folder), **options}}
    return f"--trainer.callbacks+={json.dumps(entry)}"


def main_with_nano() -> int:
    PRESETS["nano"] = NANO
    torch.set_num_threads(1)
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main_with_nano())
