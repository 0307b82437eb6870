"""What the manifests say that lie beside shards, here or at a URL."""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from abair_pl.data.manifest import MANIFEST_NAME, Kind, count_samples, file_sha256, shard_layout
from abair_pl.data.streaming.fetch import read_url
from abair_pl.data.streaming.sources import is_remote, shown
from abair_pl.errors import ShardError

_MAX_MANIFEST_BYTES = 1 << 26


def samples_in(shards: Sequence[str]) -> int:
    """Number of samples in shards, by the manifests beside them.

    Raises:
        ShardError: There is no manifest, it does not list a shard, or all of them have no sample.
    """
    total = count_samples([shard for shard in shards if not is_remote(shard)])
    names: defaultdict[str, list[str]] = defaultdict(list)
    for shard in filter(is_remote, shards):
        base, _, name = shard.rpartition("/")
        names[base].append(name)
    for base, listed in names.items():
        with tempfile.TemporaryDirectory() as folder:
            _copy_manifest(base, Path(folder))
            try:
                total += count_samples([str(Path(folder, name)) for name in listed])
            except ShardError as error:
                raise ShardError(str(error).replace(folder, shown(base))) from error
    if total == 0:
        message = f"the shards of {shown(shards[0])} hold no sample; build them again from a folder with photographs"
        raise ShardError(message)
    return total


def layout_of(shards: Sequence[str]) -> Kind | None:
    """The layout of shards by the manifests beside them; None where there is none to read.

    Raises:
        ShardError: Some are of pairs and some of single photographs.
    """
    known: dict[Kind, str] = {}
    for folder in dict.fromkeys(shard.rpartition("/")[0] for shard in shards):
        layout = _layout(folder)
        if layout is not None:
            known.setdefault(layout, shown(folder))
    if len(known) > 1:
        message = (
            f"{known['paired']} holds pairs, {known['clean']} single photographs; expected one layout for one setting: "
            "train on them one after the other"
        )
        raise ShardError(message)
    return next(iter(known), None)


def digest_of(shards: Sequence[str]) -> str:
    """By what a resumed run knows its shards: their names, and the manifests beside those that are here.

    That a folder was moved or copied makes no difference, nor do the query and the password of an address.
    """
    digest = hashlib.sha256()
    folders = {str(Path(shard).parent) for shard in shards if not is_remote(shard)}
    for manifest in (Path(folder, MANIFEST_NAME) for folder in sorted(folders)):
        digest.update(file_sha256(manifest).encode() if manifest.is_file() else b"")
    for shard in shards:
        digest.update(f"\n{shown(shard) if is_remote(shard) else Path(shard).name}".encode())
    return digest.hexdigest()[:16]


def _layout(base: str) -> Kind | None:
    if not is_remote(base):
        return shard_layout(Path(base))
    with tempfile.TemporaryDirectory() as folder:
        try:
            _copy_manifest(base, Path(folder))
        except ShardError:
            return None
        return shard_layout(Path(folder))


def _copy_manifest(base: str, folder: Path) -> None:
    """Copy the manifest of a remote folder of shards into one here."""
    if base.startswith("pipe:"):
        message = f"{base}: a command's shard has no {MANIFEST_NAME} beside it; to measure on shards, copy them here"
        raise ShardError(message)
    (folder / MANIFEST_NAME).write_bytes(read_url(f"{base}/{MANIFEST_NAME}", _MAX_MANIFEST_BYTES))
