"""Errors that a user can act on: each says what was found, what was expected and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

ERROR_PREFIX = "abair-pl: error: "
"""What stands before an error that the command line prints."""


class AbairError(Exception):
    """Root of all errors raised on purpose; the command line prints it as one line.

    Attributes:
        exit_status: 1 where the work failed, 2 where the arguments or the input are wrong.
    """

    exit_status = 1


class InputError(AbairError):
    """An argument, a configuration value or an input file is wrong."""

    exit_status = 2


class BundleError(InputError):
    """A bundle is missing, damaged, or does not fit what is asked of it."""


class ShardError(InputError):
    """Shards are missing, damaged, or too few for the ranks and workers that read them."""


class ImageError(InputError):
    """A file is not an image that can be read, or its size is out of bounds."""


class TrainingError(AbairError):
    """Training cannot go on, for instance because losses stay non-finite."""


class PreemptedError(AbairError):
    """Training was told to stop, and can go on from its last checkpoint; to the command line, no failure."""

    exit_status = 0


def unknown_name(name: str, kind: str, known: Iterable[str]) -> InputError:
    """The error for a name that is in no list, with the nearest known name as remedy.

    Args:
        name: The name that was given.
        kind: What it stands for, such as ``"preset"``.
        known: The allowed names.

    Examples:
        >>> print(unknown_name("tinny", "preset", ["tiny", "small"]))
        unknown preset 'tinny'; expected one of: tiny, small; did you mean 'tiny'?
    """
    allowed = list(known)
    near = get_close_matches(name, allowed, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return InputError(f"unknown {kind} '{name}'; expected one of: {', '.join(allowed)}{hint}")


def one_line(message: str) -> str:
    """A message that may span lines, as one, without what a terminal might obey.

    Of an error from a loader's worker, only what the error said.
    """
    if message.startswith("Caught ") and " in DataLoader worker process" in message:
        message = message.strip().splitlines()[-1].partition(": ")[2]
    text = " ".join(line.strip().removeprefix("- ") for line in message.splitlines() if line.strip())
    return "".join(letter if letter.isprintable() else "?" for letter in text)
