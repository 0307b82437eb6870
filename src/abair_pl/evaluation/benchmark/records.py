"""Records on disk: a line an image and method, so that a killed run goes on where it was."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from abair_pl.errors import AbairError
from abair_pl.evaluation.results import Record

_FOLDER = "records"


class RecordWriter:
    """Writes records, each on disk before the next is measured.

    Args:
        stream: The file.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def add(self, key: str, record: Record) -> None:
        """Write one record."""
        self._stream.write(json.dumps({"key": key, **asdict(record)}) + "\n")
        self._stream.flush()


class RecordStore:
    """Records by a key that says all that shaped them; each process appends to a file of its own.

    A line that a killed process left unfinished is passed over, and its image measured again.

    Args:
        output: The folder of the benchmark.
        rank: Of this process.
    """

    def __init__(self, output: Path, rank: int = 0) -> None:
        self.folder = output / _FOLDER
        self.file = self.folder / f"rank-{rank:05d}.jsonl"

    def read(self) -> dict[str, Record]:
        """All records of all processes, by their keys.

        Raises:
            AbairError: A file cannot be read.
        """
        found: dict[str, Record] = {}
        for file in sorted(self.folder.glob("rank-*.jsonl")):
            try:
                text = file.read_text(errors="replace")
            except OSError as error:
                message = f"{file} cannot be read ({error.strerror}); remove it, or choose another --output"
                raise AbairError(message) from error
            for line in text.splitlines():
                try:
                    values = json.loads(line)
                    key = values.pop("key")
                    found[key] = Record(**values)
                except (ValueError, LookupError, TypeError, AttributeError):  # cut short
                    continue
        return found

    @contextmanager
    def writing(self) -> Iterator["RecordWriter"]:
        """Append to this process's file.

        Raises:
            AbairError: It cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            whole = not self.file.exists() or self.file.read_text(errors="replace").endswith("\n")
            with self.file.open("a") as stream:
                if not whole:
                    stream.write("\n")
                yield RecordWriter(stream)
        except OSError as error:
            message = (
                f"{self.file} cannot be written ({error.strerror}); make room or choose another --output, run again"
            )
            raise AbairError(message) from error
