"""Where the streams of a rank's workers stand, so that a resumed run goes on with the very next sample."""

from dataclasses import dataclass, field
from typing import Any, Self

from abair_pl.batch import Position


@dataclass
class Progress:
    """What a rank has trained on.

    Attributes:
        next_worker: The worker whose batch comes next; loaders ask their workers in turn.
        positions: The positions of the workers that gave a batch.
        start: Where the others begin: samples given, and the epoch of each source.
        broken: Samples left out because they could not be decoded.
        batches: Batches trained on since the program started.
    """

    next_worker: int = 0
    positions: dict[int, Position] = field(default_factory=dict)
    start: tuple[int, int] = (0, 0)
    broken: int = 0
    batches: int = 0

    def note(self, position: Position, broken: int, workers: int) -> None:
        """Take over the position that a batch carries when it is trained on.

        Args:
            position: Of its last sample.
            broken: Samples left out on the way to this batch.
            workers: Loader processes of this rank, at least 1.
        """
        self.positions[position.worker] = position
        self.next_worker = (position.worker + 1) % workers
        self.broken += broken
        self.batches += 1

    def of(self, worker: int, sources: int) -> Position:
        """Where a worker goes on.

        Args:
            worker: The worker, counted within its rank.
            sources: Number of sources.
        """
        drawn, epoch = self.start
        return self.positions.get(worker, Position(worker, drawn, ((epoch, 0),) * sources))

    def state(self) -> dict[str, Any]:
        """In plain types, for a checkpoint."""
        rows = [[at.worker, at.drawn, [list(source) for source in at.sources]] for at in self.positions.values()]
        return {"next_worker": self.next_worker, "positions": rows, "start": list(self.start), "broken": self.broken}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The inverse of :meth:`state`."""
        positions = {
            worker: Position(worker, drawn, tuple((epoch, index) for epoch, index in sources))
            for worker, drawn, sources in state["positions"]
        }
        drawn, epoch = state["start"]
        return cls(state["next_worker"], positions, (drawn, epoch), state["broken"])

    @classmethod
    def after(cls, states: list[dict[str, Any]], rank: int) -> Self:
        """The start of the epoch that none of the ranks had begun, for a run with other ranks or workers.

        Args:
            states: What :meth:`state` gave on each rank.
            rank: This process's rank; the first keeps the count of broken samples.
        """
        known = [cls.from_state(state) for state in states]
        positions = [position for progress in known for position in progress.positions.values()]
        drawn = max([progress.start[0] for progress in known] + [position.drawn for position in positions])
        begun = [source[0] for position in positions for source in position.sources]
        epoch = max([progress.start[1] for progress in known] + [last + 1 for last in begun])
        return cls(start=(drawn, epoch), broken=sum(progress.broken for progress in known) if rank == 0 else 0)
