"""What ends a training, in one line: whoever of several processes knows the reason says it."""

import argparse
import atexit
import errno
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import distributed

from abair_pl.data.streaming.ranks import first_to_say
from abair_pl.errors import ERROR_PREFIX, AbairError, InputError, TrainingError, one_line
from abair_pl.modules.loggers import logger_error

_LOST_RANK = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Timed out waiting")
_GO_ON = "go on with --resume auto"
_SHOWN = 120
"""Characters of what a library says."""


def explained(error: Exception) -> AbairError | None:
    """The one line for an error that the user can do something about, or None for one that is a fault of the program.

    Args:
        error: The error, which jsonargparse or Lightning may have wrapped around the reason.
    """
    chain = _chain(error)
    for cause in chain:
        if isinstance(cause, AbairError):
            return cause
    if (known := logger_error(error)) is not None:
        return known
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" at {cause.filename}" if cause.filename else ""
            return TrainingError(f"the disk is full{where}; the last checkpoint is whole: make room, and {_GO_ON}")
    text = one_line(str(error))
    if isinstance(error, torch.OutOfMemoryError):
        return TrainingError(
            f"out of memory ({text.partition('. ')[0]}); give each device a smaller batch "
            f"(--data.device_batch_size), or set --model.execution.checkpointing true, and {_GO_ON}"
        )
    if "DataLoader worker" in text and ("killed" in text or "exited" in text):
        return TrainingError(
            f"{text.partition('. ')[0]}: a loader's process has ended, often for want of memory; lower --data.workers "
            f"or --data.shuffle_buffer, and {_GO_ON}"
        )
    if _is_distributed() and isinstance(error, RuntimeError) and any(sign in text for sign in _LOST_RANK):
        return TrainingError(
            f"another process of this run has ended or hangs, whose message says why ({text[:_SHOWN]}); {_GO_ON}"
        )
    if "No supported gpu backend found" in text:
        return InputError(
            "there is no GPU here; expected one for this configuration: --config configs/trainer/cpu.yaml"
        )
    if isinstance(error, ArgumentError | argparse.ArgumentError | OSError | MisconfigurationException):
        return InputError(text)
    return None


def speak(error: AbairError) -> None:
    """In a run of several processes, have that one say its error that comes first.

    The command line prints the errors of each node's first process, as all have the same at wrong arguments. Where
    another process fails alone, it says so itself; where all fail for the same reason, one does.

    Raises:
        SystemExit: Another process has said the very same.
    """
    if not _is_distributed():
        return
    message, rank, prints = one_line(str(error)), distributed.get_rank(), os.environ.get("LOCAL_RANK", "0") == "0"
    first, said = first_to_say("error", message, rank)
    if first == rank and not prints:
        sys.stderr.write(f"{ERROR_PREFIX}rank {rank}: {message}\n")
    elif first != rank and prints and said == message:
        raise SystemExit(error.exit_status)


@contextmanager
def loaders_ended_with_a_failure() -> Iterator[None]:
    """Where a run fails or stops, end its loaders' processes with this one; they may be waiting for a download."""
    try:
        yield
    except BaseException:
        atexit.register(_end_children)  # not now: PyTorch takes the end of a loader's process as an error
        raise


def _end_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in multiprocessing.active_children():
        worker.kill()


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and its causes, the outermost first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
