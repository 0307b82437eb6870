"""Commands of ``abair-pl``, several at a time, that end with this process."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

GOES_ON = "run the same command again to go on"
_PAUSE_S = 0.2
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class RecipeError(Exception):
    """What is wrong, in a line, with the exit status: 1 where the work failed, 2 where the arguments are wrong."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Command:
    """A command of ``abair-pl``.

    Attributes:
        title: What is printed when it starts.
        arguments: Without the program's name.
        threads: Of PyTorch.
        said: The file that what it says is added to; None for where this process says it.
    """

    title: str
    arguments: Sequence[str]
    threads: int = 1
    said: Path | None = None


def run_all(commands: Iterable[Command], jobs: int = 1) -> None:
    """Run commands, several at a time.

    Args:
        commands: What to run, in this order.
        jobs: How many run at a time.

    Raises:
        RecipeError: One has failed; the others have ended by then.
    """
    waiting = list(commands)
    running: dict[subprocess.Popen[bytes], Command] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                command = waiting.pop(0)
                print(command.title)
                running[_start(command)] = command
            time.sleep(_PAUSE_S)
            for process in [process for process in running if process.poll() is not None]:
                command = running.pop(process)
                if process.returncode:
                    failed = f"abair-pl {command.arguments[0]} has failed (status {process.returncode})"
                    message = f"{failed}; see {command.said or 'what it said'}, mend it, and {GOES_ON}"
                    raise RecipeError(message, 2 if process.returncode == 2 else 1)
    finally:
        for process in running:  # a training run writes a checkpoint, then
            process.terminate()
        for process in running:
            process.wait()


def _start(command: Command) -> "subprocess.Popen[bytes]":
    """Start a command in a group of its own: of an interruption only this process hears, and ends it."""
    if command.said is not None:
        command.said.parent.mkdir(parents=True, exist_ok=True)
    stream = None if command.said is None else command.said.open("ab")
    try:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "abair_pl.cli", *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=None if stream is None else subprocess.STDOUT,
            env=environment(command.threads),
            process_group=0,
            preexec_fn=_die_with_parent(),
        )
    finally:
        if stream is not None:
            stream.close()


def environment(threads: int) -> dict[str, str]:
    """That of a command with a number of threads."""
    kept = {name: value for name, value in os.environ.items() if name != "MKL_NUM_THREADS"}
    return {"PYTHONWARNINGS": "ignore", **kept, "OMP_NUM_THREADS": str(threads)}


def _die_with_parent() -> Callable[[], None] | None:
    """What makes a child end, in its own way, when this process is killed; only Linux has it."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_DIE_WITH_PARENT, int(signal.SIGTERM))
