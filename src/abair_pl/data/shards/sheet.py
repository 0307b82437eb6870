"""Contact sheets of shards."""

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from abair_pl.atomic import published
from abair_pl.data.decode import Sample, decode_sample
from abair_pl.data.streaming.archive import read_samples
from abair_pl.data.streaming.sources import expand_shards
from abair_pl.errors import AbairError, InputError

_CELL_PX = 160
_MARGIN_PX = 2


def write_sheet(source: str, output: Path, images: int = 48, columns: int = 8) -> int:
    """Draw the first samples of shards on one image: pairs, and photographs and their depth, side by side.

    Args:
        source: Folder of shards, or a path with braces.
        output: The PNG to write.
        images: How many samples to show at most.
        columns: How many samples side by side.

    Returns:
        The number of samples shown.

    Raises:
        InputError: A number is less than one.
        ShardError: Shards are missing or damaged.
        AbairError: The image cannot be written.
    """
    for name, value in (("images", images), ("columns", columns)):
        if value < 1:
            message = f"{name} is {value}; expected at least 1"
            raise InputError(message)
    rows = [_thumbnails(decode_sample(sample)) for sample in islice(read_samples(expand_shards(source)), images)]
    views = max((len(row) for row in rows), default=1)
    columns = min(columns, max(len(rows), 1))
    sheet = Image.new("RGB", (columns * views * _CELL_PX, -(-len(rows) // columns) * _CELL_PX), "white")
    for index, row in enumerate(rows):
        for view, thumbnail in enumerate(row):
            left = (index % columns * views + view) * _CELL_PX
            sheet.paste(thumbnail, (left + _MARGIN_PX, index // columns * _CELL_PX + _MARGIN_PX))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with published(output) as partial:
            sheet.save(partial, "png")
    except OSError as error:
        message = f"{output}: cannot be written ({error.strerror or error}); choose another --output"
        raise AbairError(message) from error
    return len(rows)


def _thumbnails(sample: Sample) -> list[Image.Image]:
    """The images of a sample, each small enough for a cell."""
    thumbnails = []
    for name in ("image", "input", "target", "depth"):
        if name in sample:
            pixels = sample[name]
            if name == "depth":
                pixels = np.round(pixels * 255.0).astype(np.uint8)
            thumbnail = Image.fromarray(pixels)
            thumbnail.thumbnail((_CELL_PX - 2 * _MARGIN_PX, _CELL_PX - 2 * _MARGIN_PX))
            thumbnails.append(thumbnail)
    return thumbnails
