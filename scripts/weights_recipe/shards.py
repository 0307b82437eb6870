"""From a folder of photographs to the shards that are trained and validated on."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from weights_recipe.processes import Command, RecipeError, run_all

SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff")
HELD_OUT_EVERY = 12
SIDES_PX = (1100, 640)
TILING = ("--tile-px", "256", "--tile-overlap-px", "64")
PHOTOGRAPHS_PER_SHARD = 8
WITHOUT = ("moon", "motorcycle_left", "motorcycle_right", "rocket")
"""Photographs of scikit-image's without a licence, or with one that is in doubt, and so in nothing that ships."""
WEIGHTS = {"photos-1100": 4, "photos-640": 2, "sample/train": 1}
"""How the folders of shards that are trained on are mixed."""


def find_photographs(data: Path) -> list[Path]:
    """The photographs in a folder and its subfolders, by name; what begins with a dot is passed over.

    Raises:
        RecipeError: There are fewer than two, of which one is held out.
    """
    if not data.is_dir():
        message = f"{data} is not a folder; expected one of photographs: make weights DATA=/path/to/photographs"
        raise RecipeError(message)
    found = []
    for folder, folders, names in os.walk(data, onerror=_stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            stem, _, suffix = name.rpartition(".")
            if stem and not name.startswith(".") and suffix.lower() in SUFFIXES and not stem.endswith(".depth"):
                found.append(Path(folder, name))
    if len(found) < 2:
        expected = f"at least two files named {', '.join('.' + suffix for suffix in SUFFIXES)}"
        message = f"{data} has {len(found) or 'no'} photograph{'s' if not found else ''}; expected {expected}"
        raise RecipeError(message)
    return sorted(found, key=lambda path: path.relative_to(data).as_posix())


def _stop(error: OSError) -> NoReturn:
    message = f"{error.filename} cannot be read ({error.strerror}); mend it, or leave it out"
    raise RecipeError(message)


def link_photographs(photographs: Sequence[Path], folder: Path) -> None:
    """Link photographs, and depth maps beside them, into ``train`` and ``val``, under plain names in their order."""
    for index, path in enumerate(photographs):
        plain = re.sub(r"[^A-Za-z0-9]+", "-", path.stem)[:60].strip("-")
        name = "-".join(filter(None, (f"{index:05d}", plain)))
        depth = path.with_name(f"{path.stem}.depth.png")
        part = folder / ("train" if index % HELD_OUT_EVERY else "val")
        part.mkdir(parents=True, exist_ok=True)
        for source, suffix in ((path, path.suffix.lower()), (depth, ".depth.png")):
            link = part / f"{name}{suffix}"
            link.unlink(missing_ok=True)
            if source.is_file():
                link.symlink_to(source.resolve())


def build_shards(output: Path, photographs: Sequence[Path], licence: str | None, dead_leaves: int) -> None:
    """Build the shards that are not there yet."""
    linked, shards = output / "photographs", output / "shards"
    build = ["shards", "build", *TILING, "--samples-per-shard", str(PHOTOGRAPHS_PER_SHARD)]
    build += [] if licence is None else ["--licence", licence]
    wanted = {}
    for side in SIDES_PX:
        for part, name in (("train", f"photos-{side}"), ("val", f"val-{side}")):
            place = ["--input", str(linked / part), "--output", str(shards / name)]
            wanted[name] = [*build, *place, "--max-side-px", str(side)]
    drawn = ["--dead-leaves", str(dead_leaves), "--without", *WITHOUT]
    wanted["sample/train"] = ["shards", "sample", "--output", str(shards / "sample"), *drawn]
    missing = {name: command for name, command in wanted.items() if not _is_complete(shards / name)}
    for name in wanted.keys() - missing.keys():
        print(f"shards {name}: there already")
    if missing:
        link_photographs(photographs, linked)
    for name, command in missing.items():
        run_all([Command(f"shards {name}", command)])


def _is_complete(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "manifest.json").read_text())["complete"])
    except (FileNotFoundError, ValueError, KeyError):
        return False
