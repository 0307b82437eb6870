"""``abair-pl fit`` from outside: its settings without training, and why a process of it has ended."""

import io
import signal
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from typing import Any

import yaml

from abair_pl.errors import ERROR_PREFIX
from abair_pl.training import run_trainer


def printed_settings(options: Sequence[str]) -> dict[str, Any]:
    """All settings of a fit: the given ones, those of its configurations, and the defaults.

    Args:
        options: As a command line has them, ``--config`` among them.

    Raises:
        InputError: An option or a configuration is wrong.
    """
    with redirect_stdout(io.StringIO()) as shown, suppress(SystemExit):
        run_trainer(["fit", *options, "--print_config"])
    settings: dict[str, Any] = yaml.safe_load(shown.getvalue())
    return settings


def own_error(text: str) -> str | None:
    """The last error on purpose in what a process has printed, without what stands before each; None without any."""
    errors = [line.removeprefix(ERROR_PREFIX) for line in text.splitlines() if line.startswith(ERROR_PREFIX)]
    return errors[-1] if errors else None


def ending(text: str, status: int) -> str:
    """How a process ended that said no error of its own: by a signal, or with what it said last.

    Args:
        text: What it has printed.
        status: Its exit status, negative for a signal.
    """
    if status < 0:
        return f"ended by a signal ({signal.strsignal(-status)})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {status}"
