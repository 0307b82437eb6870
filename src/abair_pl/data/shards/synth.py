"""Shards of drawn images, for as many as one likes, from nothing but a seed."""

import hashlib
import json
from pathlib import Path

from abair_pl.data.manifest import Manifest
from abair_pl.data.shards.dead_leaves import check_seed, encode_dead_leaves
from abair_pl.data.shards.writer import Content, Part, write_shards
from abair_pl.errors import ShardError


def synthesize_shards(
    output: Path, images: int, seed: int = 0, samples_per_shard: int = 500, workers: int = 0, part: str = "1/1"
) -> Manifest:
    """Draw dead-leaves images into shards; resumable, and the same for any number of workers and parts.

    Args:
        output: Folder for the shards.
        images: How many to draw.
        seed: The first image's seed; image n has ``seed + n``, whichever shard it goes to.
        samples_per_shard: Images in a shard.
        workers: Processes; 0 for one a core.
        part: The share of the shards to write, such as ``3/64``.

    Returns:
        The manifest, complete if all parts are done.

    Raises:
        ShardError: A number is out of bounds, or the output holds another build.
    """
    for name, value, least in (("images", images, 1), ("samples_per_shard", samples_per_shard, 1)):
        if value < least:
            message = f"{name} is {value}; expected at least {least}"
            raise ShardError(message)
    check_seed(seed)
    share = Part.parse(part)
    digest = hashlib.sha256(json.dumps(["dead_leaves", images, seed, samples_per_shard]).encode()).hexdigest()
    header = Manifest(
        "clean",
        digest,
        complete=False,
        dataset="dead_leaves",
        found=images,
        expected=images,
        licence="drawn, free of rights",
    )
    end = seed + images
    groups = [range(start, min(start + samples_per_shard, end)) for start in range(seed, end, samples_per_shard)]
    return write_shards(output, groups, _render, header, workers, share)


def _render(seed: int) -> Content:
    return Content([encode_dead_leaves("png", seed)])
