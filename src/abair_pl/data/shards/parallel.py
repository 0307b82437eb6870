"""Work on all cores: worker processes that end with their parent, however it ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from abair_pl.errors import AbairError, InputError

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Results of jobs as they are done, in no order.

    Args:
        function: What to do with a job; must be importable.
        jobs: The jobs.
        workers: Processes; 0 for one a core.

    Raises:
        InputError: The number of workers is negative.
        AbairError: A worker was killed.
    """
    if workers < 0:
        message = f"workers is {workers}; expected 0 for one a core, or a number of processes"
        raise InputError(message)
    pool = ProcessPoolExecutor(min(workers or _cores(), max(len(jobs), 1)), initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(function, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        message = "a worker process was killed, perhaps for want of memory; run the command again with fewer --workers"
        raise AbairError(message) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """The cores that this process may use, which a scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
