"""A folder of downloaded shards, shared by all workers and ranks of a machine."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from abair_pl.atomic import locked
from abair_pl.errors import ShardError


class ShardCache:
    """Downloads a shard once, and removes those that were not used for the longest time.

    Several processes may use one folder at once: one downloads, the others wait for it. A shard that any process of
    this machine has open is not removed. A download bears another name until it is whole; what one that was killed has
    left goes when the limit is kept.

    Args:
        folder: Where shards are kept, on a local disk; made if missing.
        limit_gb: What they may take together, in 10^9 bytes, with what has come of downloads that are under way; None
            for no limit. Shards in use are kept even beyond it.

    Raises:
        ShardError: The folder cannot be made or written to.
    """

    def __init__(self, folder: Path, limit_gb: float | None = None) -> None:
        self.folder = folder
        self.limit_gb = limit_gb
        try:
            (folder / "locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{folder} cannot hold downloaded shards ({error}); choose another --data.cache_dir"
            raise ShardError(message) from error

    @contextmanager
    def open(self, url: str, download: Callable[[str, IO[bytes]], None]) -> Iterator[IO[bytes]]:
        """Open a shard, downloading it first unless it is here.

        Args:
            url: Where it is from, by which it is known.
            download: Writes the whole shard of a URL to a file, or raises.

        Yields:
            The file, kept from removal until it is closed.
        """
        with self._fetched(url, download) as file:
            yield file

    def _fetched(self, url: str, download: Callable[[str, IO[bytes]], None]) -> IO[bytes]:
        name = hashlib.sha256(url.encode()).hexdigest()[:24]
        path = self.folder / f"{name}.tar"
        with locked(self.folder / "locks" / name):
            with suppress(FileNotFoundError):
                file = path.open("rb")
                fcntl.flock(file, fcntl.LOCK_SH)
                os.utime(file.fileno())
                return file
            partial = path.with_suffix(".partial")
            try:
                with partial.open("w+b") as target:
                    download(url, target)
                    target.flush()
                    os.fsync(target.fileno())
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            file = partial.open("rb")
            fcntl.flock(file, fcntl.LOCK_SH)
            os.replace(partial, path)
        self._remove_oldest()
        return file

    def _remove_oldest(self) -> None:
        """Keep the limit, where that is possible without removing what is open."""
        if self.limit_gb is None:
            return
        with locked(self.folder / "locks" / "removal"):
            files = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in self.folder.glob("*.tar"))
            excess = sum(size for _, size, _ in files) + self._under_way_bytes() - self.limit_gb * 1e9
            for _, size, path in files:
                if excess <= 0:
                    return
                with path.open("r+b") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    path.unlink()
                excess -= size

    def _under_way_bytes(self) -> int:
        """What downloads have come to; those that nobody goes on with are removed."""
        size_bytes = 0
        for partial in self.folder.glob("*.partial"):
            with suppress(FileNotFoundError):  # whole by now
                try:
                    with locked(self.folder / "locks" / partial.stem, wait=False):
                        partial.unlink()
                except BlockingIOError:
                    size_bytes += partial.stat().st_size
        return size_bytes
