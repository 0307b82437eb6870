"""What the manifests say that lie beside shards, here or at a URL."""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError

from abair_pl.data.manifest import MANIFEST_NAME, NAMED_PAIRS, Kind, Manifest, count_samples, file_sha256
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


def layouts_of(shards: Sequence[str]) -> set[Kind]:
    """The layouts of shards by the manifests beside them, where there are any.

    Raises:
        ShardError: A manifest cannot be had or is damaged, or some shards are of single photographs, and some of pairs
            that do not say what they show.
    """
    manifests = _manifests(shards)
    single = [base for base, manifest in manifests.items() if manifest.layout == "clean"]
    unnamed = [base for base, manifest in manifests.items() if manifest.layout == "paired" and not manifest.degradation]
    if single and unnamed:
        message = (
            f"{shown(unnamed[0])} holds pairs of no known degradation, {shown(single[0])} single photographs; expected "
            f"one of the two, or {NAMED_PAIRS}"
        )
        raise ShardError(message)
    return {manifest.layout for manifest in manifests.values()}


def damages_of(shards: Sequence[str]) -> dict[str, str]:
    """The degradations that pairs show by the manifests beside them, of shards as messages name them.

    Raises:
        ShardError: A manifest cannot be had or is damaged.
    """
    manifests = _manifests(shards)
    named = {base: manifest.degradation for base, manifest in manifests.items() if manifest.degradation}
    return {shown(shard): named[base] for shard in shards if (base := _base(shard)) in named}


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


def _base(shard: str) -> str:
    return shard.rpartition("/")[0]


def _manifests(shards: Sequence[str]) -> dict[str, Manifest]:
    """The manifests beside shards, by folder or address; of those that have one."""
    found = {base: _manifest(base) for base in dict.fromkeys(map(_base, shards))}
    return {base: manifest for base, manifest in found.items() if manifest is not None}


def _manifest(base: str) -> Manifest | None:
    """The manifest beside shards, None where there is none; one that cannot be had would lose what pairs show."""
    if base.startswith("pipe:"):
        return None
    if not is_remote(base):
        return Manifest.read(Path(base)) if Path(base, MANIFEST_NAME).is_file() else None
    with tempfile.TemporaryDirectory() as folder:
        try:
            _copy_manifest(base, Path(folder))
        except ShardError as error:
            if _is_missing(error):
                return None
            raise
        return Manifest.read(Path(folder))


def _is_missing(error: ShardError) -> bool:
    """Whether a server says that there is no such file; where nobody may list, it says forbidden instead."""
    found = error.__cause__
    return found.code in (403, 404) if isinstance(found, HTTPError) else "(404)" in str(error)  # aws prints it


def _copy_manifest(base: str, folder: Path) -> None:
    """Copy the manifest of a remote folder of shards into one here."""
    if base.startswith("pipe:"):
        message = f"{base}: a command's shard has no {MANIFEST_NAME} beside it; to measure on shards, copy them here"
        raise ShardError(message)
    (folder / MANIFEST_NAME).write_bytes(read_url(f"{base}/{MANIFEST_NAME}", _MAX_MANIFEST_BYTES))
