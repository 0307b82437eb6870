"""Write shards: tar files of photographs or pairs, deterministic byte for byte, resumable."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from abair_pl.data.decode import IMAGE_SUFFIXES, decode_image, is_image_file
from abair_pl.data.manifest import Layout, Manifest, ShardEntry, file_sha256
from abair_pl.errors import ShardError

_PARTIAL = ".partial"


@dataclass(frozen=True)
class _Member:
    """One file of a shard: its name there, and where it comes from."""

    name: str
    source: Path


def build_shards(
    source: Path, output: Path, layout: Layout = "clean", samples_per_shard: int = 500, workers: int = 0
) -> Manifest:
    """Write the images of a folder as shards, with a manifest beside them.

    Images pass through byte for byte, after a check that they decode. Shards get their final names when they are whole;
    an interrupted build goes on where it stopped, and its result is the same as without the interruption.

    Args:
        source: Folder of photographs, searched with its subfolders; for ``paired`` it holds ``input/`` and ``target/``
            with equal file stems.
        output: Folder for the shards.
        layout: ``clean`` or ``paired``.
        samples_per_shard: Photographs or pairs in a shard.
        workers: Processes; 0 for one a core.

    Returns:
        The manifest that was written.

    Raises:
        ShardError: There are no images, names collide, pairs do not match, or the output holds another build.
        ImageError: A file is not a readable image.
    """
    if samples_per_shard < 1:
        message = f"samples_per_shard is {samples_per_shard}; expected at least 1"
        raise ShardError(message)
    samples = list(_pairs(source) if layout == "paired" else _photographs(source))
    groups = [samples[start : start + samples_per_shard] for start in range(0, len(samples), samples_per_shard)]
    listing = [[[member.name, member.source.stat().st_size] for member in sample] for sample in samples]
    fingerprint = hashlib.sha256(json.dumps([layout, samples_per_shard, listing]).encode()).hexdigest()
    output.mkdir(parents=True, exist_ok=True)
    _claim(output, layout, fingerprint)
    jobs = [(output / f"{output.name}-{index:06d}.tar", group) for index, group in enumerate(groups)]
    entries: list[ShardEntry] = []
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        progress = tqdm(pool.map(_write_shard, *zip(*jobs, strict=True)), total=len(jobs), unit="shard", desc="shards")
        entries.extend(progress)
    manifest = Manifest(layout, fingerprint, complete=True, shards=entries)
    manifest.write(output)
    return manifest


def _claim(output: Path, layout: Layout, fingerprint: str) -> None:
    """Mark a folder as this build's, and clear what an interrupted one left half-written."""
    if any(output.glob("*.tar")) or (output / "manifest.json").exists():
        found = Manifest.read(output)
        if found.source_sha256 != fingerprint:
            message = f"{output} holds shards of other files or settings; choose another --output or empty it"
            raise ShardError(message)
    for partial in output.glob(f"*{_PARTIAL}"):
        partial.unlink()
    Manifest(layout, fingerprint, complete=False).write(output)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        message = f"{folder} is not a folder; expected one with images"
        raise ShardError(message)
    found = sorted(filter(is_image_file, folder.rglob("*")))
    if not found:
        message = f"{folder} has no images; expected files named {', '.join('.' + suffix for suffix in IMAGE_SUFFIXES)}"
        raise ShardError(message)
    return found


def _by_key(folder: Path) -> dict[str, Path]:
    """Images by sample key: their path in the folder without suffix, safe for WebDataset's naming."""
    named: dict[str, Path] = {}
    for path in _images(folder):
        key = path.relative_to(folder).with_suffix("").as_posix().replace("/", "__").replace(".", "_")
        if key in named:
            message = f"{path} and {named[key]} would both be sample '{key}'; rename one"
            raise ShardError(message)
        named[key] = path
    return named


def _photographs(source: Path) -> Iterator[list[_Member]]:
    for key, path in _by_key(source).items():
        yield [_Member(f"{key}{path.suffix.lower()}", path)]


def _pairs(source: Path) -> Iterator[list[_Member]]:
    inputs, targets = _by_key(source / "input"), _by_key(source / "target")
    lonely = sorted(inputs.keys() ^ targets.keys())
    if lonely:
        message = f"{source}: {len(lonely)} images have no partner of the same stem, such as '{lonely[0]}'"
        raise ShardError(message)
    for key, path in inputs.items():
        target = targets[key]
        yield [
            _Member(f"{key}.input{path.suffix.lower()}", path),
            _Member(f"{key}.target{target.suffix.lower()}", target),
        ]


def _write_shard(path: Path, samples: list[list[_Member]]) -> ShardEntry:
    """Write one shard under a temporary name and rename it; one that is there already is kept."""
    if not path.exists():
        partial = path.with_name(path.name + _PARTIAL)
        with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT, encoding="utf-8") as archive:
            for sample in samples:
                sizes = {_add(archive, member) for member in sample}
                if len(sizes) > 1:
                    message = f"{sample[0].source} and its target have different sizes {sorted(sizes)}"
                    raise ShardError(message)
        os.replace(partial, path)
    return ShardEntry(path.name, len(samples), path.stat().st_size, file_sha256(path))


def _add(archive: tarfile.TarFile, member: _Member) -> tuple[int, int]:
    """Append a file without owner or time, and return its image's height and width."""
    data = member.source.read_bytes()
    height, width = decode_image(data, str(member.source)).shape[:2]
    entry = tarfile.TarInfo(member.name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
    return height, width
