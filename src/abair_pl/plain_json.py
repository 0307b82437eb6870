"""JSON of files that a user may have been sent: limited in size and depth."""

import json
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 1 << 20
MAX_JSON_DEPTH = 32


def parse_json(data: bytes) -> Any:
    """Parse JSON of at most 1 MiB, nested at most 32 deep, whose texts can be printed.

    Raises:
        ValueError: It is damaged, or beyond a limit.
        RecursionError: It is nested far beyond the limit.
    """
    if len(data) > MAX_JSON_BYTES:
        message = f"{len(data)} bytes, more than {MAX_JSON_BYTES}"
        raise ValueError(message)
    value = json.loads(data)
    _check(value, MAX_JSON_DEPTH)
    return value


def read_json(file: Path) -> Any:
    """As :func:`parse_json`, for a file, of which no more is read than may be.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or beyond a limit.
        RecursionError: It is nested far beyond the limit.
    """
    with file.open("rb") as stream:
        return parse_json(stream.read(MAX_JSON_BYTES + 1))


def _check(value: Any, allowed: int) -> None:
    if isinstance(value, str):
        value.encode()  # half a surrogate pair is no text
    elif isinstance(value, dict | list):
        if allowed == 0:
            message = f"nested more than {MAX_JSON_DEPTH} deep"
            raise ValueError(message)
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(inner, allowed - 1)
