"""Where a new bundle may be written: nothing of the user's is moved away or removed for it."""

import json
from pathlib import Path

from abair_pl.errors import InputError


def check_output(output: Path, source: Path | None = None) -> Path:
    """Refuse to write a new bundle where something else is.

    What is at ``output`` becomes ``NAME.previous``, and what had that name is removed: both have to be bundles.

    Args:
        output: The bundle to write.
        source: What it is made of, a bundle or a file, which must not be touched.

    Returns:
        The output as an absolute path without links.

    Raises:
        InputError: There is something else than a bundle, there or as ``NAME.previous``; or the output is the current
            folder or above it, or overlaps the source.
    """
    target, here = output.resolve(), Path.cwd()
    if target == here or target in here.parents:
        message = (
            f"--output is {output}, the current folder or above it; expected a new name, such as {here / 'bundle'}"
        )
        raise InputError(message)
    previous = target.with_name(f"{target.name}.previous")
    if source is not None:
        _check_apart(output, target, previous, source)
    above = next(folder for folder in target.parents if folder.exists())
    if not above.is_dir():
        message = f"{output} would lie in {above}, which is a file; expected a folder: choose another name"
        raise InputError(message)
    if is_free(target):
        return target
    for path in (target, previous):
        if not is_free(path) and not _is_bundle(path):
            message = (
                f"{path} is there and no bundle; expected a bundle or nothing: choose another name, or move it away"
            )
            raise InputError(message)
    return target


def _check_apart(output: Path, target: Path, previous: Path, source: Path) -> None:
    read = source.resolve()
    if read == target:
        message = f"--output is {output}, the bundle itself; expected another directory"
        raise InputError(message)
    for place in (target,) if is_free(target) else (target, previous):
        if read == place or place in read.parents or read in place.parents:
            what = "replaces" if place == target else "removes its NAME.previous and so"
            message = (
                f"--output {output} {what} a folder that {source} is in, is, or holds; "
                "expected folders apart: choose another --output"
            )
            raise InputError(message)


def is_free(path: Path) -> bool:
    """Whether there is nothing at a path, or an empty folder."""
    return not path.is_symlink() and (not path.exists() or (path.is_dir() and not any(path.iterdir())))


def _is_bundle(path: Path) -> bool:
    """Whether a folder has the ``config.json`` of a bundle of any version."""
    try:
        values = json.loads((path / "config.json").read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return not path.is_symlink() and isinstance(values, dict) and {"version", "backbone_sha256"} <= values.keys()
