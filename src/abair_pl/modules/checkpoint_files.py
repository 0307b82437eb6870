"""Checkpoints on disk: named by their steps, whole or passed over, the newest first."""

import errno
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from abair_pl.atomic import published, remove_partials
from abair_pl.data.streaming.sources import is_remote
from abair_pl.errors import InputError, TrainingError, one_line

_RUN = "run-"
_STEP = "step-"
_SUFFIX = ".ckpt"
_DIGITS = 9


def checkpoint_file(folder: Path, step: int) -> Path:
    """The checkpoint of a step in the folder of a run."""
    return folder / f"{_STEP}{step:0{_DIGITS}d}{_SUFFIX}"


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints in the folder of a run, the oldest first."""
    return sorted(path for path in folder.glob(f"{_STEP}*{_SUFFIX}") if path.stem.removeprefix(_STEP).isdecimal())


def runs_in(place: Path) -> list[Path]:
    """The folders of the runs of a phase, the oldest first."""
    folders = [path for path in place.glob(f"{_RUN}*") if path.name.removeprefix(_RUN).isdecimal() and path.is_dir()]
    return sorted(folders, key=lambda path: int(path.name.removeprefix(_RUN)))


def new_run(place: Path) -> Path:
    """Make the folder of a new run of a phase; two processes never get the same."""
    place.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name.removeprefix(_RUN)) for path in runs_in(place)), default=-1) + 1
    while True:
        folder = place / f"{_RUN}{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def newest_checkpoint(place: Path) -> Path | None:
    """The newest whole checkpoint of a phase; those that are damaged are passed over, with a warning each.

    Args:
        place: The folder of the phase, with one folder a run.
    """
    for path in _newest_first(place):
        reason = damage(path)
        if reason is None:
            return path
        rank_zero_warn(f"{path} is passed over, as it is damaged ({reason})")
    return None


def _newest_first(place: Path) -> Iterator[Path]:
    for folder in reversed(runs_in(place)):
        yield from reversed(checkpoints_of(folder))


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint: every byte of it is read; None for a whole one.

    Raises:
        InputError: It cannot be read, which says nothing about it.
    """
    if not path.is_file():
        return "it is no file"
    try:
        with zipfile.ZipFile(path) as archive:
            if (member := archive.testzip()) is not None:
                return f"{member} in it has another checksum"
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}); expected a readable checkpoint: see to the file system"
        raise InputError(message) from error
    except Exception as error:  # whatever zipfile and torch say to bytes that may be anything
        return one_line(str(error)).partition(". ")[0] or type(error).__name__
    return None


def set_aside_after(folder: Path, step: int) -> None:
    """Rename a run's checkpoints of later steps to ``<name>.void``; it goes on from this step, and makes others."""
    for path in checkpoints_of(folder):
        if path.name > checkpoint_file(folder, step).name:
            os.replace(path, path.with_name(f"{path.name}.void"))


def keep_newest(folder: Path, count: int) -> None:
    """Remove all checkpoints of a run but the newest ones, and what killed processes left half-written of others."""
    known = checkpoints_of(folder)
    for path in known[:-count]:
        path.unlink(missing_ok=True)
    remove_partials(folder)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name and syncs it before it gets its own; reads tensors and plain types only.

    Checkpoints on remote file systems are written as Lightning does.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; whatever happens, ``path`` is whole: as before, or the new one.

        Raises:
            TrainingError: The disk is full, or cannot be written to.
        """
        if is_remote(str(path)):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        file = Path(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with published(file) as partial, partial.open("wb") as stream:
                torch.save(checkpoint, stream)
            _sync_folder(file.parent)
        except (OSError, RuntimeError) as error:
            raise _write_error(file, error) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint's tensors and plain types.

        Raises:
            InputError: It is missing or damaged, or holds objects of other types.
        """
        try:
            if Path(path).is_file() and (reason := damage(Path(path))) is not None:  # torch.load compares no checksums
                raise ValueError(reason)
            return super().load_checkpoint(path, map_location=map_location or _stay, weights_only=True)
        except FileNotFoundError:
            message = f"no checkpoint at {path}; expected a .ckpt file, or --resume auto for the newest one"
            raise InputError(message) from None
        except Exception as error:  # whatever torch says to bytes that may be anything
            reason = one_line(str(error)).partition(". ")[0]
            message = (
                f"{path} is damaged, or no checkpoint of tensors and plain types ({reason}); expected a whole one: "
                "--resume auto takes the newest of those"
            )
            raise InputError(message) from error


def _stay(storage: Any, location: str) -> Any:
    """Leave a tensor in main memory, wherever it was."""
    return storage


def _write_error(file: Path, error: BaseException) -> TrainingError:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    last = checkpoints_of(file.parent)
    kept = f"the last one, {last[-1].name}, is whole" if last else "there is none before it"
    reason = "the disk is full" if full else one_line(str(cause or error))
    return TrainingError(
        f"{file} could not be written ({reason}); {kept}: make room, or choose another folder, and go on with "
        "--resume auto"
    )


def _sync_folder(folder: Path) -> None:
    """Bring a new name in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
