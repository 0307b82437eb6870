"""``abair-pl shards``: the subcommands as typed functions."""

import io
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from abair_pl.data.build import build_shards
from abair_pl.data.dead_leaves import save_dead_leaves
from abair_pl.data.decode import decode_sample
from abair_pl.data.manifest import MANIFEST_NAME, Layout, Manifest, expand_shards, file_sha256
from abair_pl.data.sample import build_sample
from abair_pl.data.streaming import read_samples
from abair_pl.errors import ShardError


def build(
    input: Path,  # noqa: A002 - the option's name
    output: Path,
    layout: Layout = "clean",
    samples_per_shard: int = 500,
    workers: int = 0,
) -> None:
    """Write the images of a folder as shards with a manifest; run it again to go on after an interruption.

    Args:
        input: Folder of photographs, searched with its subfolders; for paired it holds input/ and target/.
        output: Folder for the shards.
        layout: clean photographs, or paired inputs and targets.
        samples_per_shard: Photographs or pairs in a shard.
        workers: Processes; 0 for one a core.
    """
    manifest = build_shards(input, output, layout, samples_per_shard, workers)
    print(f"{manifest.samples} samples in {len(manifest.shards)} shards at {output}")


def verify(input: Path) -> None:  # noqa: A002 - the option's name
    """Check the shards of a folder against their manifest: names, hashes, counts, and that all images decode.

    Args:
        input: Folder of shards.

    Raises:
        ShardError: Something differs; the error names the first shard.
    """
    manifest = Manifest.read(input)
    if not manifest.complete:
        message = f"{input} holds an interrupted build; finish it with: abair-pl shards build"
        raise ShardError(message)
    unlisted = sorted({path.name for path in input.glob("*.tar")} - {entry.name for entry in manifest.shards})
    if unlisted:
        message = f"{input / unlisted[0]} is not in {MANIFEST_NAME}; expected only the shards of one build: remove it"
        raise ShardError(message)
    for entry in tqdm(manifest.shards, unit="shard", desc="verify"):
        path = input / entry.name
        if not path.is_file() or file_sha256(path) != entry.sha256:
            message = f"{path} is missing or changed since it was built; build the shards again"
            raise ShardError(message)
        found = sum(1 for sample in read_samples([str(path)]) if decode_sample(sample))
        if found != entry.samples:
            message = f"{path} has {found} samples, its manifest {entry.samples}; build the shards again"
            raise ShardError(message)
    print(f"{manifest.samples} samples in {len(manifest.shards)} shards are as their manifest says")


def show(input: str, output: Path = Path("shards.png"), images: int = 48, columns: int = 8) -> None:  # noqa: A002
    """Write a contact sheet of the first samples.

    Args:
        input: Folder of shards, or a path with braces.
        output: The PNG to write.
        images: How many samples to show.
        columns: How many side by side.
    """
    cell = 160
    decoded = [decode_sample(sample) for sample in islice(read_samples(expand_shards(input)), images)]
    sheet = Image.new("RGB", (columns * cell, -(-len(decoded) // columns) * cell), "white")
    for index, sample in enumerate(decoded):
        halves = [sample["image"]] if "image" in sample else [sample["input"], sample["target"]]
        thumbnail = Image.fromarray(np.concatenate(halves, axis=1))
        thumbnail.thumbnail((cell - 4, cell - 4))
        sheet.paste(thumbnail, (index % columns * cell + 2, index // columns * cell + 2))
    output.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    output.write_bytes(buffer.getvalue())
    print(f"{len(decoded)} samples on {output}")


def synth(output: Path, images: int = 1000, seed: int = 0, samples_per_shard: int = 500, workers: int = 0) -> None:
    """Draw dead-leaves images and write them as shards; the same seed gives the same shards.

    Args:
        output: Folder for the shards.
        images: How many to draw.
        seed: The first image's seed; image n has seed + n.
        samples_per_shard: Images in a shard.
        workers: Processes; 0 for one a core.
    """
    with tempfile.TemporaryDirectory() as scratch:
        with ProcessPoolExecutor(workers or None) as pool:
            drawn = pool.map(partial(save_dead_leaves, Path(scratch), "png"), range(seed, seed + images), chunksize=8)
            list(tqdm(drawn, total=images, unit="image", desc="draw"))
        build(Path(scratch), output, samples_per_shard=samples_per_shard, workers=workers)


def sample(output: Path, dead_leaves: int = 128, seed: int = 0) -> None:
    """Build the sample of the demo: scikit-image's photographs and dead leaves, two photographs held out.

    Args:
        output: Folder for train/, val/ and heldout/.
        dead_leaves: Dead-leaves images among the training images.
        seed: The first one's seed.
    """
    build_sample(output, dead_leaves, seed)
    print(f"sample written to {output}")
