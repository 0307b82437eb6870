"""Build shards of photographs or pairs out of a folder, deterministic byte for byte, resumable."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from abair_pl.data.decode import MAX_MEMBER_BYTES, MAX_SAMPLE_BYTES, decode_depth, decode_image
from abair_pl.data.manifest import Manifest
from abair_pl.data.shards.layouts import LAYOUTS
from abair_pl.data.shards.listing import Listing, Member, Sample, list_samples
from abair_pl.data.shards.resize import encode_scaled, encode_scaled_depth, limited, scale, scale_depth
from abair_pl.data.shards.tiles import Tiling, encode_tile, tile_key
from abair_pl.data.shards.writer import Content, Part, write_shards
from abair_pl.errors import ImageError, InputError, ShardError


@dataclass(frozen=True)
class Selection:
    """Which images go into shards, and how large.

    Attributes:
        min_side_px: Samples whose shorter side would be less, after scaling and before cutting, are left out.
        max_side_px: Larger samples are scaled so that their longer side is this.
        skip_broken: Leave out what cannot be read, instead of stopping there.
        tiling: How samples are cut into tiles, each a sample of its own; None for whole ones.
    """

    min_side_px: int | None = None
    max_side_px: int | None = None
    skip_broken: bool = False
    tiling: Tiling | None = None


def build_shards(
    source: Path,
    output: Path,
    layout: str = "clean",
    samples_per_shard: int = 500,
    workers: int = 0,
    *,
    split: str | None = None,
    allow_partial: bool = False,
    shard_size_mb: int | None = None,
    selection: Selection = Selection(),
    part: str = "1/1",
    licence: str | None = None,
    degradation: str = "",
) -> Manifest:
    """Write the images of a folder as shards, with a manifest beside them.

    Images pass through byte for byte, unless they are scaled or cut, after a check that they decode. Shards get their
    final names when they are whole; an interrupted build goes on where it stopped, and its result is the same as
    without the interruption, and the same for any number of parts.

    Args:
        source: Folder of the data set.
        output: Folder for the shards.
        layout: Name of the folder's structure: ``clean`` or ``folder`` for photographs in any subfolders, ``paired``
            for ``input/`` and ``target/`` with equal file stems, or a data set's.
        samples_per_shard: Photographs or pairs in a shard, counted before they are cut.
        workers: Processes; 0 for one a core.
        split: Part of the data set; None for the customary one.
        allow_partial: Accept a folder that lacks some of its images, and say so.
        shard_size_mb: Megabytes (10^6) of source images after which a shard ends too; None for no limit.
        selection: Which images, and how large.
        part: The share of the shards to write, such as ``3/64``.
        licence: What may be done with the images, in a line; None for what the layout says.
        degradation: What the inputs of pairs show, by the name of its adapter.

    Returns:
        The manifest, complete if all parts are done.

    Raises:
        InputError: There is no such layout or split, or single photographs are given a degradation.
        ShardError: There are no images or not as many as there should be, names collide, pairs do not match, an option
            is out of bounds, or the output holds another build.
        ImageError: A file is not a readable image.
    """
    limits = {
        "samples_per_shard": samples_per_shard,
        "shard_size_mb": shard_size_mb,
        "min_side_px": selection.min_side_px,
        "max_side_px": selection.max_side_px,
    }
    for name, value in limits.items():
        if value is not None and value < 1:
            message = f"{name} is {value}; expected at least 1"
            raise ShardError(message)
    if selection.tiling is not None:
        limits |= {"tile_px": selection.tiling.tile_px, "tile_overlap_px": selection.tiling.overlap_px}
    share = Part.parse(part)
    listing = list_samples(source, layout, split, allow_partial)
    kind = LAYOUTS[listing.layout].kind
    if degradation and kind == "clean":
        message = f"degradation is '{degradation}', and layout {layout} has single photographs; expected one of pairs"
        raise InputError(message)
    if listing.note:
        print(f"note: {listing.note}")
    header = Manifest(
        kind,
        _fingerprint(listing, limits),
        complete=False,
        dataset=listing.layout,
        split=listing.split,
        found=len(listing.samples),
        expected=listing.expected,
        licence=LAYOUTS[listing.layout].licence if licence is None else " ".join(licence.split()),
        degradation=degradation,
    )
    groups = _groups(listing.samples, samples_per_shard, shard_size_mb)
    manifest = write_shards(output, groups, partial(_render, selection), header, workers, share)
    if manifest.complete and not manifest.samples:
        message = f"none of the {header.found} samples of {source} is left; expected some: lower --min-side-px"
        raise ShardError(message)
    return manifest


def _fingerprint(listing: Listing, limits: dict[str, int | None]) -> str:
    """A digest of all that decides the shards' bytes, as far as names, sizes and settings tell.

    That broken images are left out is no part of it, so that a build that stopped at one can go on without it.
    """
    digest = hashlib.sha256(json.dumps([listing.layout, listing.split, limits]).encode())
    for sample in listing.samples:
        members = [[member.role, member.suffix, member.size_bytes] for member in sample.members]
        digest.update(json.dumps([sample.key, members]).encode())
    return digest.hexdigest()


def _groups(samples: Sequence[Sample], samples_per_shard: int, shard_size_mb: int | None) -> list[Sequence[Sample]]:
    """Samples in their order, cut where a shard is full."""
    groups: list[Sequence[Sample]] = []
    start = size_bytes = 0
    for index, sample in enumerate(samples):
        added = sum(member.size_bytes for member in sample.members)
        too_large = shard_size_mb is not None and size_bytes + added > shard_size_mb * 10**6
        if index > start and (index - start == samples_per_shard or too_large):
            groups.append(samples[start:index])
            start, size_bytes = index, 0
        size_bytes += added
    return [*groups, samples[start:]]


def _render(selection: Selection, sample: Sample) -> Content:
    try:
        return _content(selection, sample)
    except (ImageError, ShardError) as error:
        if not selection.skip_broken:
            raise
        return Content(broken=str(error))


def _content(selection: Selection, sample: Sample) -> Content:
    """The members of a sample, checked and scaled alike."""
    files = [_read(member) for member in sample.members]
    pixels = [_decode(member, data) for member, data in zip(sample.members, files, strict=True)]
    sizes = {(image.shape[0], image.shape[1]) for image in pixels}
    if len(sizes) > 1:
        paths = " and ".join(member.path for member in sample.members)
        found = ", ".join(f"{image.shape[1]} x {image.shape[0]}" for image in pixels)
        message = f"{paths} have different sizes ({found}); expected equal ones: mend them, or leave them out"
        raise ShardError(message)
    (size_px,) = sizes
    new_px = limited(size_px, selection.max_side_px)
    if min(new_px) < (selection.min_side_px or 0):
        return Content(too_small=True)
    if selection.tiling is not None:
        return Content(_tiles(selection.tiling, sample, pixels, new_px))
    members = []
    for member, data, image in zip(sample.members, files, pixels, strict=True):
        stored, suffix = data, member.suffix
        if new_px != size_px and member.role == "depth":
            stored = encode_scaled_depth(image, new_px)
        elif new_px != size_px:
            stored, suffix = encode_scaled(image, new_px, suffix)
        members.append((_name(sample.key, member, suffix), stored))
    _check_sizes(sample, members)
    return Content(members)


def _tiles(
    tiling: Tiling, sample: Sample, pixels: Sequence[NDArray[Any]], size_px: tuple[int, int]
) -> list[tuple[str, bytes]]:
    """The members of all tiles of a sample, which is scaled first."""
    scaled = []
    for member, image in zip(sample.members, pixels, strict=True):
        same = image.shape[:2] == size_px
        scaled.append(image if same else (scale_depth if member.role == "depth" else scale)(image, size_px))
    members = []
    for corner in tiling.corners(size_px):
        tile = []
        for member, image in zip(sample.members, scaled, strict=True):
            data, suffix = encode_tile(tiling.cut(image, corner))
            tile.append((_name(tile_key(sample.key, corner), member, suffix), data))
        _check_sizes(sample, tile)
        members += tile
    return members


def _name(key: str, member: Member, suffix: str) -> str:
    return ".".join(filter(None, (key, member.role, suffix)))


def _check_sizes(sample: Sample, members: Sequence[tuple[str, bytes]]) -> None:
    """Refuse what readers would."""
    largest, together = max(len(data) for _, data in members), sum(len(data) for _, data in members)
    if largest > MAX_MEMBER_BYTES or together > MAX_SAMPLE_BYTES:
        message = (
            f"{sample.members[0].path}: a file of {largest} bytes, a sample of {together}; readers expect at most "
            f"{MAX_MEMBER_BYTES} and {MAX_SAMPLE_BYTES}: lower --max-side-px or --tile-px, or leave it out"
        )
        raise ShardError(message)


def _read(member: Member) -> bytes:
    try:
        return Path(member.path).read_bytes()
    except OSError as error:
        message = f"{member.path}: cannot be read ({error}); mend the file or the disk, or leave it out"
        raise ImageError(message) from error


def _decode(member: Member, data: bytes) -> NDArray[Any]:
    """Pixels: ``(H, W, 3)`` uint8, or ``(H, W)`` float32 in [0, 1] for depth."""
    decode = decode_depth if member.role == "depth" else decode_image
    return decode(data, member.path)
