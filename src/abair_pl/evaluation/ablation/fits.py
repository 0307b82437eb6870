"""``abair-pl fit`` as a process of its own, and its settings without training."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TextIO

from abair_pl.errors import AbairError
from abair_pl.evaluation.ablation.variants import Options
from abair_pl.fit_process import ending, own_error, printed_settings


def arguments(options: Options) -> list[str]:
    """Options as a command line has them.

    Examples:
        >>> arguments({"trainer.max_steps": 5, "model.adapter": {"class_path": "VeRA"}, "data.cache_dir": None})
        ['--trainer.max_steps=5', '--model.adapter={"class_path": "VeRA"}', '--data.cache_dir=null']
    """
    return [
        f"--{name}={value if isinstance(value, str) else json.dumps(value, default=str)}"
        for name, value in options.items()
    ]


@cache
def fit_settings(config: Path, options: tuple[str, ...]) -> str:
    """All settings of a fit as JSON: the given ones, those of the configuration and the defaults.

    Args:
        config: The configuration of the phase.
        options: What is changed, as a command line has it.

    Raises:
        InputError: An option or the configuration is wrong.
    """
    return json.dumps(printed_settings(["--config", str(config), *options]), sort_keys=True, default=str)


def fit(config: Path, options: Sequence[str], log: Path, jobs: int = 1) -> None:
    """Train in a process of its own.

    Args:
        config: The configuration of the phase.
        options: What is changed, as a command line has it.
        log: What the process prints; as long as it lives, no other one writes there.
        jobs: Processes that share the cores.

    Raises:
        AbairError: It failed, or another process writes to the log.
    """
    command = [sys.executable, "-m", "abair_pl.cli", "fit", "--config", str(config), *options]
    threads = {} if jobs == 1 else {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // jobs, 1))}
    name, start = f"{log.parent.name}/{log.stem}", time.monotonic()
    with log.open("a") as stream:
        _hold(stream)
        stream.truncate(0)
        print(f"{name} ...", flush=True)
        done = subprocess.run(command, stdout=stream, stderr=stream, env={**os.environ, **threads}, check=False)  # noqa: S603
    if done.returncode:
        text = log.read_text(errors="replace")
        reason = own_error(text) or ending(text, done.returncode)
        message = f"{name} failed: {reason} (see {log}); mend it and run the same command again"
        raise AbairError(message)
    print(f"{name} took {time.monotonic() - start:.0f} s", flush=True)


def _hold(stream: TextIO) -> None:
    """Lock a file until this process and all that inherit it have closed it; not where the file system has no locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = f"another process trains this and writes {stream.name}; wait for it, then run the same command again"
        raise AbairError(message) from error
    except OSError:
        return
