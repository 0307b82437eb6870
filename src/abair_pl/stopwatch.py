"""Where the time of a training step goes, on CPUs and GPUs."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

import torch
from torch.utils.data import DataLoader

Batch = TypeVar("Batch")

_MOST_MARKS = 4096
"""Kept until they are read; then older ones are summed up, so that a run that never logs needs no memory."""


class Mark(Protocol):
    """A moment, as ``torch.cuda.Event`` has it."""

    def record(self) -> None:
        """Be now; on a GPU, when it comes to this point of its queue."""

    def synchronize(self) -> None:
        """Wait until the moment is over."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds to a later one."""


class HostMark:
    """A moment of the host's clock."""

    def record(self) -> None:
        """Be now."""
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def elapsed_time(self, end: "HostMark") -> float:
        """Milliseconds to a later one."""
        return (end.seconds - self.seconds) * 1e3


def mark_maker(device: torch.device) -> Callable[[], Mark]:
    """What makes marks for a device: events in the queue of a GPU, so that nothing waits for it; else the clock."""
    if device.type == "cuda":
        return cast("Callable[[], Mark]", lambda: torch.cuda.Event(enable_timing=True))
    return HostMark


class Stopwatch:
    """Each moment from its start on belongs to one part, so that the parts sum up to the whole.

    On a GPU the parts are those of its own time line: what it waits for the loader is the loader's, and what the host
    prepares while it computes costs nothing. Marks are read in :meth:`read`, which waits for the GPU once; without it,
    whenever there are 4096 of them.
    """

    def __init__(self) -> None:
        self._make: Callable[[], Mark] = HostMark
        self._marks: list[tuple[str | None, Mark]] = []
        self._seconds: dict[str, float] = {}

    def start(self, make: Callable[[], Mark], part: str) -> None:
        """Forget all, and begin with a part."""
        self._make = make
        self._marks, self._seconds = [], {}
        self._mark(part)

    def enter(self, part: str | None) -> None:
        """From now on time belongs to a part, or to none; ignored before the start."""
        if self._marks:
            self._mark(part)
            if len(self._marks) > _MOST_MARKS:
                self._settle()

    def stop(self) -> None:
        """Forget all; parts are ignored until the next start."""
        self._marks, self._seconds = [], {}

    @property
    def running(self) -> bool:
        """Whether it has been started."""
        return bool(self._marks)

    def read(self) -> dict[str, float]:
        """Seconds by part since the start or the last reading."""
        if self._marks:
            self._mark(self._marks[-1][0])
            self._settle()
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _mark(self, part: str | None) -> None:
        mark = self._make()
        mark.record()
        self._marks.append((part, mark))

    def _settle(self) -> None:
        """Sum up all marks but the last."""
        self._marks[-1][1].synchronize()
        for (part, begin), (_, end) in zip(self._marks[:-1], self._marks[1:], strict=True):
            if part is not None:
                self._seconds[part] = self._seconds.get(part, 0.0) + begin.elapsed_time(end) / 1e3
        del self._marks[:-1]


class TimedLoader(DataLoader[Batch]):
    """A loader that marks on a stopwatch when a batch is asked for.

    Args:
        arguments: Those of the loader.
        stopwatch: Where.
        part: What the time from then on belongs to; None leaves it out.
        options: Those of the loader.
    """

    def __init__(self, *arguments: Any, stopwatch: Stopwatch, part: str | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stopwatch, self.part = stopwatch, part

    def __iter__(self) -> Any:
        """The batches."""
        self.stopwatch.enter(self.part)
        return self._marked(super().__iter__())

    def _marked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            self.stopwatch.enter(self.part)
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch
