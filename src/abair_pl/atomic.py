"""Files and directories that get their names when they are complete."""

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

_PARTIAL = ".partial"
_LONGEST_NAME = 255  # in bytes, of file systems
_SCRATCH = ".scratch-"
_UMASK = os.umask(0o077)  # it cannot be read without being set
os.umask(_UMASK)
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """An empty directory beside a path, on the same file system; removed whatever happens.

    What a killed process has left of its own for the same path is removed, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_scratch(path.parent, path.name)
    with ExitStack() as stack:
        folder = _scratch_folder(path)
        while not _hold(folder, stack):
            folder = _scratch_folder(path)
        folder.chmod(0o777 & ~_UMASK)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_scratch(folder: Path, name: str | None = None) -> None:
    """Remove the scratch directories of killed processes, for a path of this name in a folder, or for all.

    A process holds its own by a lock; where the file system has no locks for directories, all are left.
    """
    mark = re.compile(rf"\.{'.+' if name is None else re.escape(name)}{re.escape(_SCRATCH)}\w+", re.DOTALL)
    for left in [entry for entry in folder.iterdir() if mark.fullmatch(entry.name)]:
        with suppress(OSError), _opened(left) as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)


def _scratch_folder(path: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{path.name}{_SCRATCH}", dir=path.parent))


def _hold(folder: Path, stack: ExitStack) -> bool:
    """Hold a directory of one's own; False where another process has removed it first."""
    with suppress(FileNotFoundError):
        held = stack.enter_context(_opened(folder))
        with suppress(OSError):  # no locks here
            fcntl.flock(held, fcntl.LOCK_EX)
        return _is_at(held, folder)
    return False


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield held
    finally:
        os.close(held)


def aside(path: Path) -> Path:
    """Where :func:`replacing` puts what had a name before; there it stays if the process is killed."""
    return path.with_name(f".{path.name}.replaced")


@contextmanager
def replacing(made: Path, path: Path, keep: bool = False) -> Iterator[None]:
    """Give a finished file or directory its name, for good if the block does not fail.

    If it does, what had the name before gets it back.

    Args:
        made: The file or directory, on the file system of ``path``; it is synced to disk first.
        path: The name.
        keep: What had the name before becomes ``<name>.previous``, instead of an earlier one, and is not removed.
    """
    _finish(made)
    previous = path.with_name(f"{path.name}.previous") if keep else aside(path)
    replaced = path.exists()
    if replaced:
        _remove(previous)
        os.replace(path, previous)
    try:
        os.replace(made, path)
        yield
    except BaseException:
        _remove(path)
        if replaced:
            os.replace(previous, path)
        raise
    if not keep:
        _remove(previous)


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Write a file under a name of its own, and give it its name when the block is done and its bytes are on disk.

    Two processes may publish the same file at the same time: one of them wins, whole.

    Args:
        path: The name; what had it before is replaced.

    Yields:
        Where to write.
    """
    own = uuid4().hex
    partial = path.with_name(f".{path.name}.{own}{_PARTIAL}")
    if len(os.fsencode(partial.name)) > _LONGEST_NAME:
        partial = path.with_name(f".{own}{_PARTIAL}")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path, names: set[str] | None = None) -> None:
    """Remove what killed processes left half-written of the files of these names, or of all in the folder."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        name = partial.name.removeprefix(".").removesuffix(_PARTIAL).rpartition(".")[0]
        if names is None or name in names:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step: a reader sees the one before or all of this one."""
    with published(path) as partial:
        partial.write_text(text)


def _lock_file(path: Path) -> IO[bytes]:
    """A file to hold a lock on; no link is followed, no pipe waited for, and nothing that is in it lost."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.fdopen(os.open(path, flags, 0o666), "rb", buffering=0)


@contextmanager
def locked(folder: Path, wait: bool = True, tidy: bool = False) -> Iterator[bool]:
    """Hold a folder, made where there is none, for writing against other processes.

    Where the file system has no locks, as some of clusters', it is not held.

    Args:
        folder: The folder, which gets a file ``.lock``.
        wait: Wait for the process that holds it.
        tidy: Remove the file at the end; then all that hold this folder have to.

    Yields:
        Whether it is held.

    Raises:
        BlockingIOError: Another process holds it, and this one does not wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, held = folder / ".lock", True
    with ExitStack() as stack:
        while True:
            lock = stack.enter_context(_lock_file(path))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                held = False
            if not tidy or _is_at(lock.fileno(), path):
                break
        try:
            yield held
        finally:
            if tidy:
                path.unlink(missing_ok=True)


def _is_at(file: int, path: Path) -> bool:
    """Whether a path still leads to an open file or directory."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _finish(path: Path) -> None:
    """Get files to disk, open to whom the umask says: safetensors makes its own for their owner alone."""
    for file in (path, *path.rglob("*")):
        if file.is_file():
            mode = file.stat().st_mode
            if mode != (shared := mode | (0o666 & ~_UMASK)):
                file.chmod(shared)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def _remove(path: Path) -> None:
    """A directory loses its name first, so that half of it never stands there."""
    if path.is_dir() and not path.is_symlink():
        with scratch(path) as folder:
            os.replace(path, folder / path.name)
    else:
        remove_scratch(path.parent, path.name)
        path.unlink(missing_ok=True)
