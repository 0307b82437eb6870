"""``abair-pl shards``: the subcommands as typed functions; what needs torch is imported when it runs."""

from pathlib import Path

from abair_pl.data.manifest import Manifest
from abair_pl.data.shards.build import Selection, build_shards
from abair_pl.data.shards.layouts import layout_table
from abair_pl.data.shards.synth import synthesize_shards
from abair_pl.data.shards.tiles import Tiling
from abair_pl.errors import InputError


def build(
    input: Path,  # noqa: A002 - the option's name
    output: Path,
    layout: str = "folder",
    split: str | None = None,
    samples_per_shard: int = 500,
    shard_size_mb: int | None = None,
    min_side_px: int | None = None,
    max_side_px: int | None = None,
    tile_px: int | None = None,
    tile_overlap_px: int | None = None,
    allow_partial: bool = False,
    skip_broken: bool = False,
    licence: str | None = None,
    degradation: str = "",
    part: str = "1/1",
    workers: int = 0,
) -> None:
    """Write the images of a folder as shards with a manifest; run it again to go on after an interruption.

    Args:
        input: Folder of the data set.
        output: Folder for the shards.
        layout: The folder's structure: folder (or clean) for photographs in any subfolders, paired for input/ and
            target/ with equal names, or the name of a data set, as abair-pl shards layouts lists them.
        split: Part of the data set, such as train or test; the first of its list if left out.
        samples_per_shard: Photographs or pairs in a shard, counted before they are cut into tiles.
        shard_size_mb: End a shard before its source images exceed this many megabytes.
        min_side_px: Leave out samples whose shorter side would be less than this in the shard, before they are cut.
        max_side_px: Scale larger samples so that their longer side is this; others pass through byte for byte.
        tile_px: Cut samples into tiles of this side that cover them, each a sample of its own such as rocket-0000-0192,
            stored without loss as BMP: a crop then costs the decoding of a tile and not of the whole.
        tile_overlap_px: Least overlap of two tiles; a quarter of their side if left out.
        allow_partial: Accept a folder that has not as many images as the data set.
        skip_broken: Leave out images that cannot be read and pairs of unequal size; the manifest lists them.
        licence: What may be done with the images, such as CC0-1.0, for the manifest and the model cards of what is
            trained on them; that of the data set if left out. Every part needs it.
        degradation: What the inputs of pairs show, such as rain, by the name of its adapter: a phase of several
            degradations can then train on them, between photographs that it degrades itself. Every part needs it.
        part: The share of the shards to write, such as 3/64; the part that finishes last completes the manifest.
        workers: Processes; 0 for one a core.
    """
    manifest = build_shards(
        input,
        output,
        layout,
        samples_per_shard,
        workers,
        split=split,
        allow_partial=allow_partial,
        shard_size_mb=shard_size_mb,
        selection=Selection(min_side_px, max_side_px, skip_broken, _tiling(tile_px, tile_overlap_px)),
        part=part,
        licence=licence,
        degradation=degradation,
    )
    print(_summary(manifest, output, part))


def verify(input: Path, workers: int = 0) -> None:  # noqa: A002 - the option's name
    """Check the shards of a folder: names, hashes, counts, that all images decode, and that pairs are of one size.

    Args:
        input: Folder of shards.
        workers: Processes; 0 for one a core.
    """
    from abair_pl.data.shards.verify import verify_shards

    manifest = verify_shards(input, workers)
    print(f"{_contents(manifest)} are as they were built")


def show(input: str, output: Path = Path("shards.png"), images: int = 48, columns: int = 8) -> None:  # noqa: A002
    """Write a contact sheet of the first samples.

    Args:
        input: Folder of shards, or a path with braces.
        output: The PNG to write.
        images: How many samples to show.
        columns: How many side by side.
    """
    from abair_pl.data.shards.sheet import write_sheet

    print(f"{write_sheet(input, output, images, columns)} samples on {output}")


def synth(
    output: Path, images: int = 1000, seed: int = 0, samples_per_shard: int = 500, part: str = "1/1", workers: int = 0
) -> None:
    """Draw dead-leaves images into shards; the same seed gives the same images. Run it again to go on.

    Args:
        output: Folder for the shards.
        images: How many to draw.
        seed: The first image's seed; image n has seed + n.
        samples_per_shard: Images in a shard.
        part: The share of the shards to write, such as 3/64.
        workers: Processes; 0 for one a core.
    """
    print(_summary(synthesize_shards(output, images, seed, samples_per_shard, workers, part), output, part))


def sample(output: Path, dead_leaves: int = 128, seed: int = 0, without: list[str] | None = None) -> None:
    """Build the sample of the demo: scikit-image's photographs and dead leaves, two photographs held out.

    Args:
        output: Folder for train/, val/ and heldout/.
        dead_leaves: Dead-leaves images among the training images.
        seed: The first one's seed.
        without: Training photographs to leave out, such as motorcycle_left and motorcycle_right, whose licence is not
            named.
    """
    from abair_pl.data.shards.sample import build_sample

    build_sample(output, dead_leaves, seed, without or ())
    print(f"sample written to {output}")


def layouts() -> None:
    """List the data sets whose folders are known: splits and counts, where a person gets them, and their licence."""
    print(layout_table())


def _tiling(tile_px: int | None, overlap_px: int | None) -> Tiling | None:
    if tile_px is None:
        if overlap_px is not None:
            message = f"--tile-overlap-px {overlap_px} is of tiles; expected --tile-px with it"
            raise InputError(message)
        return None
    return Tiling(tile_px, tile_px // 4 if overlap_px is None else overlap_px)


def _contents(manifest: Manifest) -> str:
    return f"{manifest.samples} samples in {len(manifest.shards)} shards"


def _summary(manifest: Manifest, output: Path, part: str) -> str:
    """What a build came to, in a line."""
    text = f"{_contents(manifest)} at {output}"
    if manifest.too_small:
        text += f"; {manifest.too_small} too small, left out"
    if manifest.broken:
        text += f"; {len(manifest.broken)} broken, left out and listed in the manifest"
    return text if manifest.complete else f"{text}; part {part} is done, others are not yet"
