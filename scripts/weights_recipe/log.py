"""The log of ``make weights``: gathered from the runs of all phases, written as one table, and compared with another.

As ``training-log.csv`` with ``training.json`` beside it: steps, seconds and hardware of each phase.
"""

import csv
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from abair_pl.processor import processor_name, usable_cores

LOG_NAME = "training-log.csv"
FACTS_NAME = "training.json"
TOLERANCE = 1e-6
_LOSS = "train/loss"
_FIRST = "pretrain"
_LEFT_OUT = ("train/images_per_second", "val/ssim/")  # of the machine, or more than a log has to tell

Rows = dict[str, dict[int, dict[str, str]]]
"""By phase and step: what was logged, by name."""


def read_metrics(folder: Path) -> dict[int, dict[str, str]]:
    """What a phase has logged, by step: of all versions in a CSV logger's folder, the last one of a step counts."""
    steps: dict[int, dict[str, str]] = {}
    versions = [path for path in folder.glob("version_*") if path.name.removeprefix("version_").isdecimal()]
    for place in sorted(versions, key=lambda path: int(path.name.removeprefix("version_"))):
        file = place / "metrics.csv"
        if file.is_file():
            for row in _rows(file):
                kept = {name: value for name, value in row.items() if value and _is_kept(name)}
                if kept:
                    steps.setdefault(int(row["step"]), {}).update(kept)
    return dict(sorted(steps.items()))


def _rows(file: Path) -> Iterable[dict[str, str]]:
    """The rows of a table; the last one of a process that was killed may be cut short."""
    with file.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if None not in row.values() and (row.get("step") or "").isdecimal():
                yield row


def _is_kept(name: str) -> bool:
    return name.startswith(("train/", "val/")) and not name.startswith(_LEFT_OUT)


def write_log(folder: Path, rows: Rows, facts: Mapping[str, Any]) -> None:
    """Write the table, and the facts beside it."""
    names = sorted({name for steps in rows.values() for values in steps.values() for name in values})
    names.sort(key=lambda name: name != _LOSS)
    partial = folder / f".{LOG_NAME}.partial"
    with partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["phase", "step", *names], lineterminator="\n")
        writer.writeheader()
        for phase, steps in rows.items():
            writer.writerows({"phase": phase, "step": step, **values} for step, values in steps.items())
    os.replace(partial, folder / LOG_NAME)
    (folder / FACTS_NAME).write_text(json.dumps(facts, indent=2) + "\n")


def hardware() -> dict[str, Any]:
    """What the log was made on, and with."""
    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "torch": version("torch"),
        "python": platform.python_version(),
    }


def compare(log: Path, other: Path) -> int:
    """Say whether the losses of two logs agree over the steps that both have.

    What comes after phase I depends on its result: adapters are compared only where it was trained for as many steps,
    and the estimator only where the adapters were, too; and each only where it was trained in the same precision.

    Args:
        log: The table of a run.
        other: The one to compare it with.

    Returns:
        0, or 1 where losses differ, or nothing could be compared.

    Raises:
        ValueError: A file is not such a log.
        OSError: A file cannot be read.
    """
    mine, theirs = _losses(log), _losses(other)
    facts, their_facts = _facts(log), _facts(other)
    compared = differing = 0
    for phase in mine:
        if (unequal := _unequal(phase, facts, their_facts)) is not None:
            print(f"{phase}: not compared, as {unequal}")
            continue
        common = sorted(mine[phase].keys() & theirs.get(phase, {}).keys())
        if not common:
            print(f"{phase}: no step in common")
            continue
        compared += 1
        apart = [step for step in common if not abs(mine[phase][step] - theirs[phase][step]) <= TOLERANCE]
        last = f"{len(common)} logged losses up to step {common[-1]}"
        if not apart:
            print(f"{phase}: {last} agree to {TOLERANCE:g}")
            continue
        differing += 1
        first = apart[0]
        found, expected = mine[phase][first], theirs[phase][first]
        print(f"{phase}: {len(apart)} of {last} differ, first at step {first}: {found!r} here, {expected!r} in {other}")
        if "precision" not in facts.get(phase, {}):
            print(f"{phase}: it has not ended, and its precision is not known; another one differs")
    if not compared:
        print("nothing could be compared; expected phases of as many steps in the same precision: on a CPU, bf16-mixed")
        print("takes instructions for bfloat16 (abair-pl doctor says whether this one has them)")
    return int(differing > 0 or compared == 0)


def _losses(log: Path) -> dict[str, dict[int, float]]:
    losses: dict[str, dict[int, float]] = {}
    with log.open(newline="") as stream:
        table = csv.DictReader(stream)
        if not {"phase", "step", _LOSS} <= set(table.fieldnames or ()):
            message = f"{log} is no training log; expected columns phase, step and {_LOSS}"
            raise ValueError(message)
        for row in table:
            if row[_LOSS]:
                losses.setdefault(row["phase"], {})[int(row["step"])] = float(row[_LOSS])
    return losses


def _facts(log: Path) -> dict[str, dict[str, Any]]:
    """Steps, and more, by phase, as told beside a log."""
    file = log.parent / FACTS_NAME
    values = json.loads(file.read_text())
    phases = values.get("phases", {}) if isinstance(values, dict) else None
    if not (isinstance(phases, dict) and all(isinstance(known, dict) for known in phases.values())):
        message = f"{file} has no facts by phase; expected those that are written beside a training log"
        raise ValueError(message)
    return phases


def _unequal(phase: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """Which precision, or which phase before this one, is another; None where all are equal."""
    for each in [*_before(phase, [*mine, *theirs]), phase]:
        here, there = (known.get(each, {}) for known in (mine, theirs))
        if each != phase and here.get("steps", 0) != there.get("steps", 0):
            return f"{each} has {here.get('steps', 0)} steps here, {there.get('steps', 0)} there"
        if len({facts["precision"] for facts in (here, there) if "precision" in facts}) > 1:
            return f"{each} was trained in {here['precision']} here, in {there['precision']} there"
    return None


def _before(phase: str, names: Iterable[str]) -> list[str]:
    """The phases whose results this one starts from."""
    if phase == _FIRST:
        return []
    adapters = [name for name in dict.fromkeys(names) if name.startswith("adapter/")]
    return [_FIRST] if phase in adapters else [_FIRST, *adapters]
