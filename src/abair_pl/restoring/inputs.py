"""Which photographs are restored, and where each result goes: all of it known before anything is done."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from abair_pl.data.decode import is_depth_map, is_image_file
from abair_pl.errors import ImageError, InputError
from abair_pl.images.finding import no_images_in

STANDARD = Path("-")
"""In place of a path: standard input, or standard output."""

_STANDARD_NAME = Path("stdin")
_SHEET_SUFFIX = ".explain.png"


@dataclass(frozen=True)
class Job:
    """A photograph to restore.

    Attributes:
        source: The file, or ``-``.
        target: The file to write, or ``-``.
        sheet: The picture that explains the result; None where there is to be none.
    """

    source: Path
    target: Path
    sheet: Path | None = None


def plan_jobs(inputs: Sequence[Path], output: Path, suffix: str, explain: bool = False) -> list[Job]:
    """A job for each photograph.

    Args:
        inputs: Files; folders, whose results keep the tree below them; patterns such as ``photos/*.jpg``, for the image
            files that match; or ``-`` alone for standard input.
        output: The folder for results, or ``-`` for standard output, which takes one.
        suffix: Of the results, such as ``png``.
        explain: A sheet beside each result, too.

    Raises:
        ImageError: An input does not exist, or has no images.
        InputError: The output is an input folder, two results would be written to one file or over an input, or
            standard input or output is to take more than one photograph.
    """
    found = [pair for path in inputs for pair in _photographs(path, output)]
    if output == STANDARD or STANDARD in inputs:
        _check_standard(inputs, output, len(found), explain)
    jobs = []
    for source, name in found:
        target = STANDARD if output == STANDARD else output / name.with_name(f"{name.name}.{suffix}")
        jobs.append(Job(source, target, target.with_name(name.name + _SHEET_SUFFIX) if explain else None))
    _check_targets(jobs)
    return jobs


def _photographs(path: Path, output: Path) -> list[tuple[Path, Path]]:
    """The photographs of one input, each with the name of its result below the output, without suffix."""
    if path == STANDARD:
        return [(path, _STANDARD_NAME)]
    if path.is_dir():
        return _in_folder(path, output)
    if path.is_file():
        return [(path, Path(path.stem))]
    found = []
    if glob.has_magic(str(path)):
        matches = map(Path, sorted(glob.glob(str(path), recursive=True)))  # noqa: PTH207 - Path.glob takes no "/..."
        found = [(match, Path(match.stem)) for match in matches if is_image_file(match)]
    if not found:
        message = f"no image at {path}; expected a file, a folder, a pattern such as 'photos/*.jpg', or -"
        raise ImageError(message)
    return found


def _in_folder(folder: Path, output: Path) -> list[tuple[Path, Path]]:
    """All images below a folder but hidden ones, depth maps, and what lies in the folder for results."""
    below = folder.resolve()
    results = output.resolve()
    if results == below:
        message = f"--output is {output}, the folder of the photographs; expected another one, which may lie in it"
        raise InputError(message)
    others = results if results.is_relative_to(below) else None
    found = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if others is not None and (below / name).is_relative_to(others):
            continue
        if any(part.startswith(".") for part in name.parts) or is_depth_map(file.name) or not is_image_file(file):
            continue
        found.append((file, name.with_suffix("")))
    if not found:
        raise no_images_in(folder)
    return found


def _check_standard(inputs: Sequence[Path], output: Path, count: int, explain: bool) -> None:
    if STANDARD in inputs and len(inputs) > 1:
        message = f"{len(inputs)} inputs with - among them; expected - alone: standard input is one photograph"
        raise InputError(message)
    if output == STANDARD and count > 1:
        message = f"{count} photographs for standard output; expected one: give a folder as --output"
        raise InputError(message)
    if output == STANDARD and explain:
        message = "--explain writes a sheet beside the result; expected a folder as --output, not standard output"
        raise InputError(message)


def _check_targets(jobs: Sequence[Job]) -> None:
    writers: dict[Path, Path] = {}
    for job in jobs:
        for target in (job.target, job.sheet):
            if target is None or target == STANDARD:
                continue
            if target in writers:
                message = f"{writers[target]} and {job.source} would both be written to {target}; rename one of them"
                raise InputError(message)
            writers[target] = job.source
    sources = {job.source.resolve() for job in jobs}
    for target in writers:
        if target.resolve() in sources:
            message = f"{target} is an input and would be overwritten; choose another --output"
            raise InputError(message)
