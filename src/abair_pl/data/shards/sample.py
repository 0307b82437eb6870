"""The sample that demo and tests train on: scikit-image's photographs and dead leaves, nothing downloaded."""

import tempfile
from collections.abc import Collection
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from abair_pl.data.shards.build import build_shards
from abair_pl.data.shards.dead_leaves import check_seed, encode_dead_leaves
from abair_pl.data.shards.parallel import in_processes
from abair_pl.data.shards.tiles import TILE_SUFFIX, Tiling, encode_tile, tile_key
from abair_pl.errors import AbairError, ShardError, unknown_name

_STEREO_PAIR = ("motorcycle_left", "motorcycle_right")
_COLOR = ("astronaut", "rocket", "hubble_deep_field", "retina", "ihc", *_STEREO_PAIR)
_GREY = ("camera", "brick", "grass", "gravel", "coins", "moon")  # the colour ones are few, and textures are textures
TRAIN_PHOTOGRAPHS = (*_COLOR, *_GREY)
HELD_OUT_PHOTOGRAPHS = ("coffee", "chelsea")
_LICENCE = "scikit-image's photographs, CC0, public domain or without known restrictions; drawn images free of rights"
_DOUBTFUL = {
    "Middlebury's stereo pair, which scikit-image ships without naming a licence": _STEREO_PAIR,
    "its moon, which it ships without naming a licence": ("moon",),
    "its rocket, public domain by its documentation, which is in doubt": ("rocket",),
}
_WITH_DEPTH = "motorcycle_left"
_FOCAL_PX, _BASELINE_MM, _PRINCIPAL_POINTS_APART_PX = 994.978, 193.001, 31.086  # of the stereo pair, by scikit-image
_TILING = Tiling(288, 96)
_MAX_TILES = 12


def build_sample(output: Path, dead_leaves: int = 128, seed: int = 0, without: Collection[str] = ()) -> None:
    """Write ``train/`` and ``val/`` shards and the held-out photographs as ``heldout/*.png``.

    Photographs are cut into overlapping tiles.

    Args:
        output: Folder to write to.
        dead_leaves: Number of dead-leaves images among the training images.
        seed: The first of their seeds, in [0, 2**53).
        without: Training photographs to leave out, by name.

    Raises:
        ShardError: A number is out of bounds, or the output holds other shards.
        InputError: A name is not that of a training photograph.
        AbairError: It cannot be written to.
    """
    check_seed(seed)
    if dead_leaves < 0:
        message = f"dead_leaves is {dead_leaves}; expected at least 0"
        raise ShardError(message)
    for name in without:
        if name not in TRAIN_PHOTOGRAPHS:
            raise unknown_name(name, "training photograph", TRAIN_PHOTOGRAPHS)
    names = [name for name in TRAIN_PHOTOGRAPHS if name not in without]
    try:
        _build(output, names, range(seed, seed + dead_leaves))
    except OSError as error:
        message = f"{output}: cannot be written ({error}); make room or choose another --output, and run it again"
        raise AbairError(message) from error


def _build(output: Path, names: Collection[str], seeds: range) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        train, val, held_out = Path(scratch, "train"), Path(scratch, "val"), output / "heldout"
        for folder in (train, val, held_out):
            folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            _save_tiles(load_photograph(name), train, name, load_depth() if name == _WITH_DEPTH else None)
        for name in HELD_OUT_PHOTOGRAPHS:
            photograph = load_photograph(name)
            Image.fromarray(photograph).save(held_out / f"{name}.png")
            _save_tiles(photograph, val, name)
        for file, data in in_processes(partial(encode_dead_leaves, TILE_SUFFIX), seeds, workers=0):
            (train / file).write_bytes(data)
        licence = "; ".join([_LICENCE, *(text for text, ones in _DOUBTFUL.items() if {*ones} & {*names})])
        build_shards(train, output / "train", samples_per_shard=32, licence=licence)
        build_shards(val, output / "val", samples_per_shard=4, licence=_LICENCE)


def load_photograph(name: str) -> NDArray[np.uint8]:
    """One of scikit-image's photographs, ``(H, W, 3)`` 8-bit RGB."""
    if name.startswith("motorcycle"):
        return np.asarray(skimage.data.stereo_motorcycle()[name == "motorcycle_right"])
    if name == "ihc":
        return np.asarray(skimage.data.immunohistochemistry())
    photograph = np.asarray(getattr(skimage.data, name)())
    return photograph if photograph.ndim == 3 else np.repeat(photograph[..., None], 3, axis=2)


def load_depth() -> NDArray[np.uint16]:
    """The measured depth of ``motorcycle_left``, ``(H, W)``: 0 for the nearest point, 65535 for the farthest.

    The distance is ``focal length x baseline / (disparity + distance of the principal points)``. Where it could not be
    measured, mostly at edges that one camera does not see, it is that of the nearest pixel where it could.
    """
    disparity = np.asarray(skimage.data.stereo_motorcycle()[2], dtype=np.float64)
    unknown = ~np.isfinite(disparity)
    _, nearest = cv2.distanceTransformWithLabels(
        unknown.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE, labelType=cv2.DIST_LABEL_PIXEL
    )
    measured = np.zeros(nearest.max() + 1)
    measured[nearest[~unknown]] = disparity[~unknown]
    distance = _FOCAL_PX * _BASELINE_MM / (measured[nearest] + _PRINCIPAL_POINTS_APART_PX)
    scaled = (distance - distance.min()) / np.ptp(distance)
    return np.round(scaled * 65535.0).astype(np.uint16)


def _save_tiles(
    photograph: NDArray[np.uint8], folder: Path, name: str, depth: NDArray[np.uint16] | None = None
) -> None:
    """Cut a photograph into overlapping tiles that cover it; of a large one no more than twelve, evenly spread."""
    height, width, _ = photograph.shape
    corners = _TILING.corners((height, width))
    for corner in corners[:: -(-len(corners) // _MAX_TILES)]:
        stem = tile_key(name, corner)
        for role, pixels in (("", photograph), (".depth", depth)):
            if pixels is not None:
                data, suffix = encode_tile(_TILING.cut(pixels, corner))
                (folder / f"{stem}{role}.{suffix}").write_bytes(data)
