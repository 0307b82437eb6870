"""What the manifests say that lie beside shards, here or at a URL."""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from abair_pl.data.manifest import MANIFEST_NAME, count_samples, shard_layout
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


def layout_of(shards: Sequence[str]) -> str:
    """The layout of shards by the manifest beside the first one; ``clean`` where there is none to read."""
    if not is_remote(shards[0]):
        return shard_layout([shards[0]])
    base, _, name = shards[0].rpartition("/")
    with tempfile.TemporaryDirectory() as folder:
        try:
            _copy_manifest(base, Path(folder))
        except ShardError:
            return "clean"
        return shard_layout([str(Path(folder, name))])


def _copy_manifest(base: str, folder: Path) -> None:
    """Copy the manifest of a remote folder of shards into one here."""
    if base.startswith("pipe:"):
        message = f"{base}: a command's shard has no {MANIFEST_NAME} beside it; to measure on shards, copy them here"
        raise ShardError(message)
    (folder / MANIFEST_NAME).write_bytes(read_url(f"{base}/{MANIFEST_NAME}", _MAX_MANIFEST_BYTES))
