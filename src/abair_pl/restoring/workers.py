"""The processes that restore photographs, of a GPU or a share of the cores each."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue

import torch

from abair_pl.errors import AbairError, InputError
from abair_pl.restore import Abair
from abair_pl.restore_options import check_device
from abair_pl.restoring.inputs import Job
from abair_pl.restoring.photographs import Outcome, Settings, attempt

_model: Abair | None = None  # of a worker's process, opened for its first photograph


def run_jobs(jobs: Sequence[Job], settings: Settings, devices: int = 1) -> Iterator[Outcome]:
    """Restore photographs, and tell of each in their order.

    Args:
        jobs: What to do.
        settings: How.
        devices: How many processes share them; more than there are photographs are not started.

    Raises:
        InputError: An option is wrong, or there are not as many GPUs.
        AbairError: A result cannot be written, or a process has ended.
    """
    processes = min(devices, len(jobs))
    if processes < 2:
        model = settings.open()
        for job in jobs:
            yield attempt(model, job, settings)
        return
    context = multiprocessing.get_context("spawn")  # a process that has used a GPU cannot be forked
    indices = context.SimpleQueue()
    for index in range(processes):
        indices.put(index)
    threads = max(torch.get_num_threads() // processes, 1)
    pool = ProcessPoolExecutor(processes, context, _begin, (indices, threads, settings.device != "cpu"))
    try:
        yield from pool.map(_work, jobs, [settings] * len(jobs))
    except BrokenProcessPool as error:
        message = (
            "a process that restores has ended, often for want of memory; use fewer --devices, or a smaller --tile-px"
        )
        raise AbairError(message) from error
    finally:
        pool.shutdown(cancel_futures=True)


def check_devices(device: str, devices: int) -> None:
    """Raise :class:`InputError` where there is no such device, or there are not as many."""
    check_device(device)
    if devices < 1:
        message = f"devices is {devices}; expected at least 1"
        raise InputError(message)
    here = torch.cuda.device_count() if device != "cpu" else 0
    if here and devices > here:
        message = f"devices is {devices} and there are {here} GPUs here; expected no more than that"
        raise InputError(message)


def _begin(indices: "SimpleQueue[int]", threads: int, gpus: bool) -> None:
    """What a worker's process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    torch.set_num_threads(threads)
    index = indices.get()
    if gpus and torch.cuda.is_available():
        torch.cuda.set_device(index)


def _work(job: Job, settings: Settings) -> Outcome:
    global _model
    if _model is None:
        _model = settings.open()
    return attempt(_model, job, settings)
