"""The samples of a shard, still undecoded; whatever does not belong into a shard is refused by name."""

import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, Any, Self

import webdataset as wds

from abair_pl.data.decode import MAX_MEMBER_BYTES, MAX_SAMPLE_BYTES
from abair_pl.data.streaming.fetch import ShardOpener, check_plain
from abair_pl.data.streaming.sources import shown
from abair_pl.errors import ShardError

_MAX_NAME_BYTES = 1 << 16
_NAMES_ONLY = (  # kinds of headers that are read into memory, for the name or the times of the member behind them
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def read_samples(
    shards: Sequence[str], open_shard: Callable[[str], AbstractContextManager[IO[bytes]]] | None = None
) -> Iterator[dict[str, Any]]:
    """The undecoded samples of shards, one after the other.

    Args:
        shards: Paths or URLs.
        open_shard: How they are opened; a :class:`ShardOpener` without a cache if left out.

    Yields:
        ``__key__``, ``__url__``, and the bytes of each member by its suffixes in lower case.

    Raises:
        ShardError: A shard cannot be opened, is compressed, damaged, or cut short; or a member is not a plain file, has
            a name that points out of the archive, has no key and suffix, is too large, or is there twice.
    """
    open_shard = open_shard or ShardOpener()
    for shard in shards:
        try:
            with open_shard(shard) as file:
                check_plain(file, shard)
                with tarfile.open(fileobj=file, mode="r|", tarinfo=_WholeHeader) as archive:
                    yield from _samples(archive, shown(shard))
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            message = (
                f"{shown(shard)}: not a readable shard ({error}); expected a whole .tar file: copy or build it again"
            )
            raise ShardError(message) from error


def _samples(archive: tarfile.TarFile, shard: str) -> Iterator[dict[str, Any]]:
    keys: set[str] = set()
    for sample in wds.tariterators.group_by_keys(_members(archive, shard)):
        if sample["__key__"] in keys:
            message = f"the members of sample {sample['__key__']} do not lie together, or it is there twice"
            raise ValueError(message)
        keys.add(sample["__key__"])
        yield sample


class _WholeHeader(tarfile.TarInfo):
    """A header that tells damage from the end of the archive, where tarfile stops silently at either."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            message = f"{error} where a file or the end of the archive was expected"
            raise tarfile.ReadError(message) from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Read what belongs to a header."""
        if self.size > _MAX_NAME_BYTES and self.type in _NAMES_ONLY:
            message = f"a name of {self.size} bytes"
            raise tarfile.ReadError(message)
        return super()._proc_member(archive)  # type: ignore[misc]  # typeshed lacks it


def _members(archive: tarfile.TarFile, shard: str) -> Iterator[dict[str, Any]]:
    """The files of a shard, in webdataset's words."""
    key, size_bytes = "", 0
    for entry in archive:
        reason = _objection(entry)
        last, key = key, wds.tariterators.base_plus_ext(entry.name)[0] or ""
        size_bytes = entry.size + (size_bytes if key == last else 0)
        if not reason and size_bytes > MAX_SAMPLE_BYTES:
            reason = f"is of a sample of {size_bytes} bytes so far, more than {MAX_SAMPLE_BYTES}"
        if reason:
            message = (
                f"{entry.name!r} in {shard} {reason}; expected only plain files such as 000123.jpg: build it again"
            )
            raise ShardError(message)
        file = archive.extractfile(entry)
        if file is not None:  # else a folder
            yield {"__url__": shard, "fname": entry.name, "data": file.read()}


def _objection(entry: tarfile.TarInfo) -> str | None:
    """What is wrong with a member, if anything is."""
    if not (entry.isreg() or entry.isdir()) or entry.issparse():
        return "is a link" if entry.issym() or entry.islnk() else "is not a plain file"
    if entry.name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", entry.name):
        return "points out of the archive"
    if any(ord(character) < ord(" ") for character in entry.name):
        return "has a name with control characters"
    if entry.isreg() and wds.tariterators.base_plus_ext(entry.name)[0] is None:
        return "has no key and suffix"
    if entry.size > MAX_MEMBER_BYTES:
        return f"has {entry.size} bytes, more than {MAX_MEMBER_BYTES}"
    return None
