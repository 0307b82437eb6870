"""Check shards against their manifest, and the images in them."""

from functools import partial
from pathlib import Path

from tqdm import tqdm

from abair_pl.data.decode import decode_sample
from abair_pl.data.manifest import MANIFEST_NAME, Manifest, ShardEntry, file_sha256
from abair_pl.data.shards.parallel import in_processes
from abair_pl.data.streaming.archive import read_samples
from abair_pl.errors import AbairError, ShardError

_REMEDY = "remove it and run the same abair-pl shards build again"


def verify_shards(folder: Path, workers: int = 0) -> Manifest:
    """Check names, sizes, hashes and counts, that all images decode, and that pairs and depth maps are of one size.

    Args:
        folder: Folder of shards.
        workers: Processes; 0 for one a core.

    Returns:
        The manifest, which holds.

    Raises:
        ShardError: Something differs; the error names the first shard and says how many others there are.
    """
    manifest = Manifest.read(folder)
    if not manifest.complete:
        message = f"{folder} holds an interrupted build; finish it with: abair-pl shards build"
        raise ShardError(message)
    unlisted = sorted({path.name for path in folder.glob("*.tar")} - {entry.name for entry in manifest.shards})
    if unlisted:
        message = f"{folder / unlisted[0]} is not in {MANIFEST_NAME}; expected only the shards of one build: remove it"
        raise ShardError(message)
    checked = in_processes(partial(_fault, folder, manifest.layout), manifest.shards, workers)
    faults = sorted(filter(None, tqdm(checked, total=len(manifest.shards), unit="shard", desc="verify")))
    if faults:
        others = f" ({len(faults) - 1} other shards have faults too)" if len(faults) > 1 else ""
        raise ShardError(faults[0] + others)
    return manifest


def _fault(folder: Path, kind: str, entry: ShardEntry) -> str:
    """What is wrong with a shard; empty where nothing is."""
    path = folder / entry.name
    if not path.is_file() or path.stat().st_size != entry.size_bytes or file_sha256(path) != entry.sha256:
        return f"{path} is missing or changed since it was built; {_REMEDY}"
    samples = 0
    try:
        for sample in read_samples([str(path)]):  # refuses names that are there twice
            decoded = decode_sample(sample)  # refuses unequal sizes
            samples += 1
            if ("image" in decoded) != (kind == "clean"):
                return f"{path}: sample {decoded['key']} is not {kind} as its manifest says; {_REMEDY}"
    except AbairError as error:
        return f"{path}: {error}; {_REMEDY}"
    if samples != entry.samples:
        return f"{path} has {samples} samples, its manifest {entry.samples}; {_REMEDY}"
    return ""
