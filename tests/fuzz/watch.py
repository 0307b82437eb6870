"""Runs a target on many inputs in a process of its own, which may crash, hang or eat the memory."""

import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.targets import Target

from abair_pl.errors import AbairError

LIMIT_S = 30.0
"""Of a processor's time, so that what else the machine does makes no finding; some processors are slow."""

PATIENCE_S = 120.0
"""On the clock, for what waits without working."""

LIMIT_MIB = 600
"""Beyond what a process that has read nothing takes, some 400 MiB: 1 GiB in all."""

_HEADROOM_BYTES = 3 << 30
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_MOVES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate")
_ABROAD = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")


@dataclass(frozen=True)
class Outcome:
    """What came of one input.

    Attributes:
        number: Which input.
        accepted: It was read; else it was refused by an :class:`AbairError`.
        seconds: Time of the processor.
        waited_s: Time on the clock.
        mib: Highest resident memory of the process while it was read, beyond what it had at its start.
        finding: What must not happen and did; empty where nothing did.
    """

    number: int
    accepted: bool
    seconds: float
    waited_s: float
    mib: float
    finding: str = ""


@dataclass
class Tally:
    """What came of many inputs."""

    inputs: int = 0
    accepted: int = 0
    slowest_s: float = 0.0
    longest_s: float = 0.0
    highest_mib: float = 0.0
    findings: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.inputs += 1
        self.accepted += outcome.accepted
        self.slowest_s = max(self.slowest_s, outcome.seconds)
        self.longest_s = max(self.longest_s, outcome.waited_s)
        self.highest_mib = max(self.highest_mib, outcome.mib)
        if outcome.finding:
            self.findings.append(outcome)


def random_of(seed: int, name: str, number: int) -> Random:
    """What decides everything about an input."""
    return Random(f"{seed}/{name}/{number}")


def watch(target: Target, name: str, seed: int, count: int, seconds: float) -> Iterator[Outcome]:
    """Run a target on inputs 0 to ``count``, or until the time is over.

    Args:
        target: The target.
        name: Its name, of which its inputs are made.
        seed: The seed.
        count: How many inputs at most.
        seconds: For how long at most.
    """
    fork = multiprocessing.get_context("fork")
    end, number = time.monotonic() + seconds, 0
    while number < count and time.monotonic() < end:
        ours, theirs = fork.Pipe()
        process = fork.Process(target=_serve, args=(target, name, seed, number, count, theirs))
        process.start()
        theirs.close()
        try:
            while number < count and time.monotonic() < end:
                if not ours.poll(PATIENCE_S):
                    yield Outcome(number, False, 0.0, PATIENCE_S, 0.0, f"waits for more than {PATIENCE_S:.0f} s")
                    break
                yield ours.recv()
                number += 1
        except EOFError:
            process.join()
            late = process.exitcode == -signal.SIGPROF
            what = f"takes more than {LIMIT_S} s" if late else f"the process died with status {process.exitcode}"
            yield Outcome(number, False, LIMIT_S if late else 0.0, 0.0, 0.0, what)
        finally:
            process.kill()
            process.join()
            ours.close()
        number += 1


def _serve(target: Target, name: str, seed: int, first: int, count: int, pipe: Connection) -> None:
    faulthandler.disable()
    guard = Guard(target.output)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff tells of all that it finds
    limit = _status_kib("VmSize") * 1024 + _HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    inherited_kib = _status_kib("VmRSS")
    for number in range(first, count):
        pipe.send(_outcome(target, random_of(seed, name, number), number, guard, inherited_kib))


def _outcome(target: Target, random: Random, number: int, guard: "Guard", inherited_kib: int) -> Outcome:
    target.place(target.make(random), random)
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory is counted from here
    clock, start, accepted, faults = time.perf_counter(), time.process_time(), True, []
    try:
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)  # whose signal ends the process
        with guard.armed():
            target.run(random)
    except AbairError as error:
        accepted = False
        faults = [f"several lines: {error!r}"] if "\n" in str(error).strip() else []
    except BaseException:
        accepted = False
        faults = [traceback.format_exc()]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    waited_s, seconds = time.perf_counter() - clock, time.process_time() - start
    mib = (_status_kib("VmHWM") - inherited_kib) / 1024
    faults += [*guard.seen, *target.faults(accepted)]
    if mib > LIMIT_MIB:
        faults.append(f"takes {mib:.0f} MiB")
    return Outcome(number, accepted, seconds, waited_s, mib, "; ".join(faults))


class Guard:
    """Sees what Python does to files outside of a folder, and to programs and the network, while it is armed."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder.resolve())
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Begin anew to see."""
        self.seen, self.on = [], True
        try:
            yield
        finally:
            self.on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _ABROAD:
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event in _MOVES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
            paths = [path for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
            if not all(map(self._is_inside, paths[:1] if event == "open" else paths)):
                self.seen.append(f"{event} {arguments!r:.200}")

    def _is_inside(self, path: str | bytes | os.PathLike[str]) -> bool:
        place = Path(os.path.realpath(os.fsdecode(path)))
        return place.is_relative_to(self.folder) or place == Path("/dev/null")


def _status_kib(field_name: str) -> int:
    """A number of ``/proc/self/status``, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field_name}:"):
            return int(line.split()[1])
    message = f"/proc/self/status has no {field_name}"
    raise LookupError(message)
