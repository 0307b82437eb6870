"""Whether a run can write its checkpoints and its bundle, and has the room for them."""

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from abair_pl.data.streaming.sources import is_remote
from abair_pl.degradations import PAPER_FIVE
from abair_pl.doctor.dry_run import Measures
from abair_pl.doctor.machine import GIB
from abair_pl.doctor.page import Line, Section, counted
from abair_pl.doctor.plan import Plan
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import PRESETS

_BYTES = 4  # of a float32
_KEPT = 3  # checkpoints of RollingCheckpoint, if its setting is left out
_COPIES = 4  # of each trained weight in a checkpoint: itself, its average, and two moments of the optimizer


@dataclass(frozen=True)
class Need:
    """What a run writes to one place.

    Attributes:
        path: A folder that may not be there yet, or an address.
        size: Bytes; None where that is not known.
        what: For people.
    """

    path: str
    size: int | None
    what: str


def check_output(output: Path | None, plan: Plan | None = None, measures: Measures | None = None) -> Section:
    """Look at the places that are written to, without leaving anything there.

    Args:
        output: A folder that runs are to be written to.
        plan: A run, which has its own.
        measures: What its dry run took, where there was one.
    """
    needs = [] if output is None and plan is not None else [Need(str(output or Path()), None, "")]
    if plan is not None:
        needs += _needs(plan, measures)
    lines: list[Line] = []
    by_disk: dict[int, int] = {}
    facts: dict[str, Any] = {}
    places = []
    for need in needs:
        if is_remote(need.path):
            lines.append(Line("output", f"{need.path} is not on this machine; not looked at"))
            continue
        existing = _existing(Path(need.path))
        free = shutil.disk_usage(existing).free
        facts.setdefault("free_disk_gib", round(free / GIB, 1))
        disk = existing.stat().st_dev
        by_disk[disk] = by_disk.get(disk, 0) + (need.size or 0)
        places.append({"path": need.path, "free_bytes": free, "needed_bytes": need.size})
        lines.append(_line(need, existing, free, by_disk[disk]))
    return Section("Output", lines, {**facts, "output": places})


def _line(need: Need, existing: Path, free: int, needed: int) -> Line:
    """Of one place; ``needed`` is what is written to its disk by this and the places before."""
    if (reason := _refusal(existing)) is not None:
        return Line("output", f"{existing} cannot be written to ({reason})", "problem", "choose another folder")
    text = f"{need.path}: {free / GIB:.1f} GiB free"
    if need.what:
        size = "an unknown size" if need.size is None else f"{need.size / GIB:.2f} GiB"
        text = f"{text}; {size} for {need.what}"
    remedy = "make room, keep fewer checkpoints, or choose another folder"
    if needed > free:
        return Line("output", text, "problem", remedy)
    if 2 * needed > free:
        return Line("output", text, "warning", remedy)
    return Line("output", text, "ok")


def _existing(path: Path) -> Path:
    """The folder, or the first above it that there is."""
    return next(folder for folder in (path.resolve(), *path.resolve().parents) if folder.exists())


def _refusal(folder: Path) -> str | None:
    """Why a file cannot be written in a folder; None where it can."""
    if not folder.is_dir():
        return "it is a file"
    if not os.access(folder, os.W_OK):
        return "permission denied"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except OSError as error:
        return error.strerror or str(error)
    return None


def _needs(plan: Plan, measures: Measures | None) -> list[Need]:
    checkpoint, weights = _sizes(plan, measures)
    rolling, lightning = plan.callback("RollingCheckpoint"), plan.callback("ModelCheckpoint")
    if rolling is not None:
        folder, kept = rolling.get("folder"), int(rolling.get("keep") or _KEPT)
    else:
        settings = lightning or {}
        folder = settings.get("dirpath")
        kept = _top(plan, settings) + bool(settings.get("save_last"))
    total = None if checkpoint is None else (kept + 1) * checkpoint
    made = "" if checkpoint is None else f" of {checkpoint / GIB:.2f} GiB"
    what = f"{counted(kept, 'checkpoint')}{made}, and one more while it is written"
    needs = [Need(str(folder or plan.root), total, what)]
    two = None if weights is None else 2 * weights
    needs.append(Need(str(plan.model["save_to"]), two, "the bundle, and the one before"))
    if (cache := plan.data["cache_dir"]) is not None:
        limit = plan.data["cache_gb"]
        size = None if limit is None else max(int(limit * 1e9) - _bytes_in(Path(cache)), 0)
        needs.append(Need(str(cache), size, "the cache of shards"))
    return needs


def _bytes_in(folder: Path) -> int:
    """What is in a folder; files that others take away meanwhile are not counted."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _top(plan: Plan, settings: dict[str, Any]) -> int:
    """How many checkpoints Lightning's callback keeps beside the last one."""
    best = settings.get("save_top_k", 1)
    every = settings.get("every_n_train_steps")
    if best != -1:
        return int(best)
    return max(plan.max_steps // int(every), 1) if every else 1


def _sizes(plan: Plan, measures: Measures | None) -> tuple[int | None, int | None]:
    """Bytes of a checkpoint and of the weights in a bundle: measured, or by the number of parameters."""
    if measures is not None:
        return measures.checkpoint_bytes, measures.parameters * _BYTES
    if plan.model.get("preset") in PRESETS:
        with torch.device("meta"):
            labels = len(plan.model["degradations"] or PAPER_FIVE) + 1
            backbone = Backbone(PRESETS[plan.model["preset"]], labels)
        weights = _BYTES * sum(parameter.numel() for parameter in backbone.parameters())
        return _COPIES * weights, weights
    start = plan.model.get("init_from")
    weights = sum(file.stat().st_size for file in Path(start).rglob("*.safetensors")) if start else 0
    return None, weights or None
