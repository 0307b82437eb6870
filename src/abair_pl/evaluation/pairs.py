"""What is measured: real pairs, or photographs that the synthesizer degrades."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from abair_pl.data.decode import decode_depth
from abair_pl.degradations import Synthesizer, parse_degradation
from abair_pl.degradations.random import SEED_LIMIT, combine
from abair_pl.errors import ImageError, InputError
from abair_pl.images import find_images, read_photograph


@dataclass(frozen=True)
class Pair:
    """A degraded image with its reference.

    Attributes:
        image: The file's stem.
        degradation: What was done to it, in the grammar; empty for real pairs.
        name: The degradation's name, ``rain|noise`` for several side by side; empty for real pairs.
        draw: Which of its degradations by the same rule this is.
        degraded: ``(3, H, W)`` in [0, 1].
        clean: The same shape.
    """

    image: str
    degradation: str
    name: str
    draw: int
    degraded: Tensor
    clean: Tensor


def find_pairs(
    source: Path | None, target: Path | None, clean: Path | None, degrade: list[str] | None, draws: int, seed: int
) -> tuple[Iterator[Pair], int]:
    """The pairs that the options describe, and how many there are."""
    if source is not None and target is not None and clean is None and degrade is None:
        degraded, reference = _by_stem(source), _by_stem(target)
        lonely = sorted(degraded.keys() ^ reference.keys())
        if lonely:
            message = f"{len(lonely)} images have no partner of the same stem, such as '{lonely[0]}'; name pairs alike"
            raise InputError(message)
        return (_real_pair(degraded[stem], reference[stem]) for stem in degraded), len(degraded)
    if clean is not None and degrade and source is None and target is None:
        if draws < 1:
            message = f"draws is {draws}; expected at least 1"
            raise InputError(message)
        if not 0 <= seed < SEED_LIMIT:
            message = f"seed is {seed}; expected at least 0 and less than 2**53"
            raise InputError(message)
        if len(set(degrade)) < len(degrade):
            message = f"degrade is {' '.join(degrade)}; expected each once: for several draws, raise --draws"
            raise InputError(message)
        synthesizers = {
            spec: [Synthesizer.only(parse_degradation(part)) for part in spec.split("|")] for spec in degrade
        }
        paths = find_images([clean])
        made = (
            _synthetic_pair(path, spec, side_by_side, seed, draw)
            for spec, side_by_side in synthesizers.items()
            for draw in range(draws)
            for path in paths
        )
        return made, len(paths) * len(degrade) * draws
    message = "expected either --input and --target, or --clean and --degrade"
    raise InputError(message)


def _by_stem(folder: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in find_images([folder]):
        if path.stem in named:
            message = f"{path} and {named[path.stem]} have the same stem; expected one image of it: rename one"
            raise InputError(message)
        named[path.stem] = path
    return named


def _real_pair(degraded: Path, clean: Path) -> Pair:
    image, reference = read_photograph(degraded).pixels, read_photograph(clean).pixels
    if image.shape != reference.shape:
        sizes = [
            f"{path} {pixels.shape[2]} x {pixels.shape[1]}" for path, pixels in ((degraded, image), (clean, reference))
        ]
        message = f"sizes are {' and '.join(sizes)} pixels; expected the same: crop or pair them alike"
        raise ImageError(message)
    return Pair(clean.stem, "", "", 0, image, reference)


def _synthetic_pair(path: Path, spec: str, side_by_side: list[Synthesizer], seed: int, draw: int) -> Pair:
    """A photograph with one degradation, or with several in vertical strips of equal width."""
    clean = read_photograph(path).pixels
    seeds = torch.tensor([combine(combine(seed, draw), zlib.crc32(path.stem.encode()))])
    depth = _depth_beside(path, clean)
    degraded = clean.clone()
    edges = [round(clean.shape[2] * index / len(side_by_side)) for index in range(len(side_by_side) + 1)]
    for synthesizer, left, right in zip(side_by_side, edges, edges[1:], strict=False):
        synthesis = synthesizer(clean[None], synthesizer.plan(seeds, synthesizer.sources[-1]), depth)
        degraded[..., left:right] = synthesis.degraded[0, ..., left:right]
    name = "|".join(synthesizer.sources[-1] for synthesizer in side_by_side)
    return Pair(path.stem, spec, name, draw, degraded, clean)


def _depth_beside(path: Path, clean: Tensor) -> Tensor | None:
    """The depth ``(1, 1, H, W)`` in ``x.depth.png`` beside ``x.jpg``; None where there is none."""
    file = path.with_suffix(".depth.png")
    if not file.is_file():
        return None
    depth = torch.from_numpy(decode_depth(file.read_bytes(), str(file)))
    if depth.shape != clean.shape[1:]:
        message = f"{file} has size {tuple(depth.shape)}, {path.name} {tuple(clean.shape[1:])}; expected the same"
        raise ImageError(message)
    return depth[None, None]
