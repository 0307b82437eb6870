"""The sample that demo and tests train on: scikit-image's photographs and dead leaves, nothing downloaded."""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from abair_pl.data.build import build_shards
from abair_pl.data.dead_leaves import save_dead_leaves

_COLOR = ("astronaut", "rocket", "hubble_deep_field", "retina", "ihc", "motorcycle_left", "motorcycle_right")
_GREY = ("camera", "brick", "grass", "gravel", "coins", "moon")  # the colour ones are few, and textures are textures
TRAIN_PHOTOGRAPHS = (*_COLOR, *_GREY)
HELD_OUT_PHOTOGRAPHS = ("coffee", "chelsea")
_TILE_PX = 288
_STRIDE_PX = 192
_MAX_TILES = 12
_SUFFIX = "bmp"  # a PNG takes seven times as long to decode, which two cores notice


def build_sample(output: Path, dead_leaves: int = 128, seed: int = 0) -> None:
    """Write ``train/`` and ``val/`` shards and the held-out photographs as ``heldout/*.png``.

    Photographs are cut into overlapping tiles, so that a crop costs the decoding of a tile and not of the whole.

    Args:
        output: Folder to write to.
        dead_leaves: Number of dead-leaves images among the training images.
        seed: The first of their seeds.
    """
    with tempfile.TemporaryDirectory() as scratch:
        train, val, held_out = Path(scratch, "train"), Path(scratch, "val"), output / "heldout"
        for folder in (train, val, held_out):
            folder.mkdir(parents=True, exist_ok=True)
        for name in TRAIN_PHOTOGRAPHS:
            _save_tiles(load_photograph(name), train, name)
        for name in HELD_OUT_PHOTOGRAPHS:
            photograph = load_photograph(name)
            Image.fromarray(photograph).save(held_out / f"{name}.png")
            _save_tiles(photograph, val, name)
        with ProcessPoolExecutor() as pool:
            list(pool.map(partial(save_dead_leaves, train, _SUFFIX), range(seed, seed + dead_leaves)))
        build_shards(train, output / "train", samples_per_shard=32)
        build_shards(val, output / "val", samples_per_shard=4)


def load_photograph(name: str) -> NDArray[np.uint8]:
    """One of scikit-image's photographs, ``(H, W, 3)`` 8-bit RGB."""
    if name.startswith("motorcycle"):
        return np.asarray(skimage.data.stereo_motorcycle()[name == "motorcycle_right"])
    if name == "ihc":
        return np.asarray(skimage.data.immunohistochemistry())
    photograph = np.asarray(getattr(skimage.data, name)())
    return photograph if photograph.ndim == 3 else np.repeat(photograph[..., None], 3, axis=2)


def _save_tiles(photograph: NDArray[np.uint8], folder: Path, name: str) -> None:
    """Cut a photograph into overlapping tiles that cover it; of a large one no more than twelve, evenly spread."""
    corners = [(top, left) for top in _starts(photograph.shape[0]) for left in _starts(photograph.shape[1])]
    for top, left in corners[:: -(-len(corners) // _MAX_TILES)]:
        tile = photograph[top : top + _TILE_PX, left : left + _TILE_PX]
        Image.fromarray(tile).save(folder / f"{name}-{top:04d}-{left:04d}.{_SUFFIX}")


def _starts(side: int) -> list[int]:
    steps = -(-max(side - _TILE_PX, 0) // _STRIDE_PX)
    return [round((side - _TILE_PX) * step / steps) for step in range(steps + 1)] if steps else [0]
