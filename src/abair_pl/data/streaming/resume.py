"""The position of the training stream: kept while training goes on, saved in checkpoints, and taken up again."""

import itertools
import warnings
from typing import Any

from abair_pl.batch import Position
from abair_pl.data.streaming.progress import Progress
from abair_pl.data.streaming.ranks import add, gather

_runs = itertools.count()


class StreamRecord:
    """What a rank's training has seen of the data.

    Attributes:
        progress: Where the streams of its workers stand.
    """

    def __init__(self) -> None:
        self.progress = Progress()
        self._name = f"stream-{next(_runs)}"  # the same on all ranks, and another one in the next run
        self._saved: dict[str, Any] | None = None
        self._logged = -1

    def note(self, position: Position, broken: int, workers: int, trainer: Any) -> None:
        """Take over what a batch carries when it is trained on; log ``data/broken``, over all ranks together.

        Args:
            position: Of the batch's last sample.
            broken: Samples left out on the way to it.
            workers: Loader processes of this rank, at least 1.
            trainer: Whose loggers are used.
        """
        self.progress.note(position, broken, workers)
        first = self.progress.batches == 1
        added = self.progress.broken if first else broken
        every = int(trainer.log_every_n_steps)
        if not (added or first or (every and trainer.global_step % every == 0)):
            return
        total = add(f"{self._name}/broken", added) if trainer.world_size > 1 else self.progress.broken
        if trainer.global_rank == 0 and total != self._logged:
            self._logged = total
            for logger in trainer.loggers:
                logger.log_metrics({"data/broken": float(total)}, trainer.global_step)

    def state(self, settings: dict[str, Any], rank: int) -> dict[str, Any]:
        """What a checkpoint holds of the streams of all ranks, in plain types.

        Args:
            settings: What positions depend on, ``world_size`` among it.
            rank: This process's rank; what others than rank 0 get is not the whole.
        """
        name = f"{self._name}/positions/{self.progress.batches}"
        ranks = gather(name, self.progress.state(), rank, settings["world_size"])
        return {**settings, "ranks": ranks or [self.progress.state()]}

    def load(self, state: dict[str, Any]) -> None:
        """Keep what :meth:`state` gave until :meth:`resume`."""
        self._saved = state
        # Lightning asks the loader, and not the datamodule, whether it can go on in the middle of an epoch.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")

    def resume(self, settings: dict[str, Any], rank: int) -> Progress:
        """Where training goes on: as loaded, if something was, with the very next sample; else where it stands.

        Where the settings are others than those that were saved, it goes on with the next epoch, and a warning.

        Args:
            settings: What positions depend on, in this run.
            rank: This process's rank.
        """
        if self._saved is not None:
            self.progress = _restored(self._saved, settings, rank)
            self._saved = None
        return self.progress


def _restored(state: dict[str, Any], settings: dict[str, Any], rank: int) -> Progress:
    differing = [name for name, value in settings.items() if state.get(name) != value]
    if not differing and len(state["ranks"]) == settings["world_size"]:
        return Progress.from_state(state["ranks"][rank])
    progress = Progress.after(state["ranks"], rank)
    reason = "; ".join(f"{name} was {state.get(name)}, is {settings[name]}" for name in differing)
    message = (
        f"the stream's position in the checkpoint does not fit this run ({reason or 'not all ranks saved theirs'}): "
        f"training goes on at the start of epoch {progress.start[1]} of the data"
    )
    if rank == 0:
        warnings.warn(message, stacklevel=2)
    return progress
