"""The paper's figures, typed into ``published.yaml`` with their source."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from abair_pl.errors import InputError, one_line, unknown_name

_DATA = Path(__file__).with_name("published.yaml")
_PSNR_DB = (5.0, 60.0)


@dataclass(frozen=True)
class PublishedScore:
    """What a method reached on a data set, or on average.

    Attributes:
        psnr: In dB.
        ssim: In [0, 1]; None where it is not known.
    """

    psnr: float
    ssim: float | None

    def __post_init__(self) -> None:
        low, high = _PSNR_DB
        if not low <= self.psnr <= high or not (self.ssim is None or 0.0 <= self.ssim <= 1.0):
            message = f"PSNR {self.psnr} dB and SSIM {self.ssim}; expected {low:g} to {high:g} dB and 0 to 1"
            raise InputError(message)


@dataclass(frozen=True)
class PublishedRow:
    """A method of the paper's.

    Attributes:
        method: Its name; the paper's own methods end in ``(paper)``.
        scores: By the task's short name, where they are known.
        average: Over all data sets of the table, where it is published.
        parameters: Such as ``36M``, where they are published.
    """

    method: str
    scores: Mapping[str, PublishedScore]
    average: PublishedScore | None
    parameters: str | None


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper's.

    Attributes:
        title: What it is about.
        datasets: What the paper measured on, by the task's short name.
        rows: In the paper's order.
        notes: What a reader of the rows has to know.
        source: Where the figures are from.
        model_parameters: Of the paper's whole model, such as ``59M``.
    """

    title: str
    datasets: Mapping[str, str]
    rows: tuple[PublishedRow, ...]
    notes: tuple[str, ...]
    source: str
    model_parameters: str


def published_table(name: str) -> PublishedTable:
    """A table of the paper's by name, from ``table1`` to ``table8``.

    Of several, joined by ``+``, it is their columns side by side, with the methods that all of them have.

    Raises:
        InputError: There is none of this name.
    """
    known = _package_tables()
    for part in name.split("+"):
        if part not in known:
            raise unknown_name(part, "published table", known)
    first, *others = (known[part] for part in name.split("+"))
    for other in others:
        first = _side_by_side(first, other)
    return first


def _side_by_side(left: PublishedTable, right: PublishedTable) -> PublishedTable:
    scores = {row.method: row.scores for row in right.rows}
    rows = [
        replace(row, scores={**row.scores, **scores[row.method]}, average=None)
        for row in left.rows
        if row.method in scores
    ]
    notes = tuple(dict.fromkeys((*left.notes, *right.notes)))
    title, datasets = f"{left.title}; {right.title}", {**left.datasets, **right.datasets}
    return replace(left, title=title, datasets=datasets, rows=tuple(rows), notes=notes)


@cache
def _package_tables() -> dict[str, PublishedTable]:
    return read_tables(_DATA)


def read_tables(path: Path) -> dict[str, PublishedTable]:
    """All tables of a file such as ``published.yaml``, by name.

    Raises:
        InputError: Something is missing, is no number, or cannot be a PSNR or SSIM.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        shared = {"source": values["source"], "model_parameters": values["parameters"]}
        return {name: _table(table, shared) for name, table in values["tables"].items()}
    except (InputError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        message = f"{path}: {type(error).__name__}: {one_line(str(error))}; expected tables as in {_DATA.name}"
        raise InputError(message) from error


def _table(values: Mapping[str, Any], shared: Mapping[str, str]) -> PublishedTable:
    tasks = list(values["datasets"])
    rows = tuple(_row(row, tasks) for row in values["rows"])
    return PublishedTable(values["title"], values["datasets"], rows, tuple(values.get("notes", ())), **shared)


def _row(values: Mapping[str, Any], tasks: list[str]) -> PublishedRow:
    numbers = values.get("scores", [None] * 2 * len(tasks))
    pairs = dict(zip(tasks, zip(numbers[::2], numbers[1::2], strict=True), strict=True))
    scores = {task: PublishedScore(*pair) for task, pair in pairs.items() if pair[0] is not None}
    average = PublishedScore(*values["average"]) if "average" in values else None
    return PublishedRow(values["method"], scores, average, values.get("parameters"))
