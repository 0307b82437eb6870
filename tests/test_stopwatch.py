import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from abair_pl import stopwatch as module
from abair_pl.stopwatch import HostMark, Stopwatch, TimedLoader, mark_maker


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the host's clock, in seconds."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def put(seconds: float) -> None:
        now[0] = seconds

    return put


class Queue:
    """Stands in for a GPU: marks get their time from a queue that lags behind the host."""

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self.waits = 0

    def mark(self) -> "QueueMark":
        return QueueMark(self)


class QueueMark:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def record(self) -> None:
        self.at = self.queue.milliseconds

    def synchronize(self) -> None:
        self.queue.waits += 1

    def elapsed_time(self, end: "QueueMark") -> float:
        return end.at - self.at


def test_each_moment_belongs_to_one_part(clock: Callable[[float], None]) -> None:
    watch = Stopwatch()
    clock(1.0)
    watch.start(HostMark, "other")
    for at, part in ((3.0, "data"), (7.0, "synthesis"), (8.0, "data"), (10.0, None), (50.0, "other")):
        clock(at)
        watch.enter(part)
    clock(51.5)
    assert watch.read() == pytest.approx({"other": 2.0 + 1.5, "data": 4.0 + 2.0, "synthesis": 1.0})
    clock(54.0)
    assert watch.read() == pytest.approx({"other": 2.5}), "the part should go on after reading"


def test_nothing_is_measured_before_the_start_and_after_the_stop(clock: Callable[[float], None]) -> None:
    watch = Stopwatch()
    watch.enter("data")
    assert not watch.running
    assert watch.read() == {}
    watch.start(HostMark, "data")
    assert watch.running
    clock(5.0)
    watch.stop()
    watch.enter("data")
    clock(9.0)
    assert (watch.running, watch.read()) == (False, {})


def test_a_gpu_is_waited_for_once_for_each_reading() -> None:
    """Times are those of the GPU's queue, in milliseconds."""
    queue, watch = Queue(), Stopwatch()
    watch.start(queue.mark, "other")
    for _ in range(10):
        for part, milliseconds in (("data", 1.0), ("synthesis", 2.0), ("forward_backward", 5.0), ("optimizer", 0.5)):
            watch.enter(part)
            queue.milliseconds += milliseconds
    assert queue.waits == 0
    seconds = watch.read()
    assert queue.waits == 1
    expected = {"other": 0.0, "data": 0.01, "synthesis": 0.02, "forward_backward": 0.05, "optimizer": 0.005}
    assert seconds == pytest.approx(expected)


def test_a_run_that_never_reads_keeps_few_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_MARKS", 8)
    queue, watch = Queue(), Stopwatch()
    watch.start(queue.mark, "data")
    for step in range(100):
        queue.milliseconds += 1.0
        watch.enter("data" if step % 2 else "other")
        assert len(watch._marks) <= 8
    assert sum(watch.read().values()) == pytest.approx(0.1)


def test_marks_are_events_on_a_gpu_and_the_clock_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(torch.cuda, "Event", lambda **options: made.append(options))
    assert mark_maker(torch.device("cpu")) is HostMark
    mark_maker(torch.device("cuda", 0))()
    assert made == [{"enable_timing": True}]


class Slow(IterableDataset[int]):
    """Two numbers, three seconds each by the clock that is passed in."""

    def __init__(self, put: Callable[[float], None]) -> None:
        self.put = put

    def __iter__(self) -> Iterator[int]:
        for value in range(2):
            self.put(time.perf_counter() + 3.0)
            yield value


@pytest.mark.parametrize(("part", "expected"), [("data", {"data": 6.0, "other": 10.0}), (None, {"other": 10.0})])
def test_a_timed_loader_marks_the_time_until_a_batch_is_there(
    part: str | None, expected: dict[str, float], clock: Callable[[float], None]
) -> None:
    watch = Stopwatch()
    watch.start(HostMark, "other")
    seen = []
    for batch in TimedLoader(Slow(clock), batch_size=None, stopwatch=watch, part=part):
        watch.enter("other")
        clock(time.perf_counter() + 5.0)
        seen.append(batch)
    assert seen == [0, 1]
    assert watch.read() == pytest.approx(expected)


def test_starting_a_loader_is_its_time(clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers start then."""
    watch = Stopwatch()
    watch.start(HostMark, "other")
    loader: TimedLoader[int] = TimedLoader(Slow(clock), batch_size=None, stopwatch=watch, part="data")
    begin = loader._get_iterator

    def begin_slowly() -> Any:
        clock(7.0)
        return begin()

    monkeypatch.setattr(loader, "_get_iterator", begin_slowly)
    iter(loader)
    assert watch.read() == pytest.approx({"other": 0.0, "data": 7.0})
