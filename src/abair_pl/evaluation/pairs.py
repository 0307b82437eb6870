"""What is measured: real pairs, or photographs that the synthesizer degrades."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from abair_pl.data.decode import decode_depth
from abair_pl.degradations import Plan, Synthesizer, parse_degradation
from abair_pl.degradations.random import SEED_LIMIT, combine
from abair_pl.errors import ImageError, InputError
from abair_pl.images import find_images, read_photograph


@dataclass(frozen=True)
class Pair:
    """A degraded image with its reference.

    Attributes:
        degraded: ``(3, H, W)`` in [0, 1].
        clean: The same shape.
        plan: By which it was degraded; None for real pairs as they are, and for several degradations side by side.
    """

    degraded: Tensor
    clean: Tensor
    plan: Plan | None = None


@dataclass(frozen=True)
class PairSource:
    """Where a pair comes from; its images are read when it is loaded.

    Attributes:
        image: What it is called, such as the file's stem; it decides, with seed and draw, how it is degraded.
        clean: The reference.
        degraded: The degraded image of a real pair; None where ``clean`` is degraded.
        degradation: What is done to it, in the grammar; ``rain|noise`` side by side; empty for real pairs as they are.
        draw: Which of its degradations by the same rule this is.
        seed: Of the degradations.
        side_by_side: What does it, one for each strip of the image.
    """

    image: str
    clean: Path
    degraded: Path | None = None
    degradation: str = ""
    draw: int = 0
    seed: int = 0
    side_by_side: tuple[Synthesizer, ...] = ()

    @property
    def name(self) -> str:
        """The degradation's name, ``rain|noise`` for several side by side; empty for real pairs as they are."""
        return "|".join(synthesizer.sources[-1] for synthesizer in self.side_by_side)

    @property
    def files(self) -> list[Path]:
        """All that is read: the images, and the depth beside the clean one where it counts."""
        depth = self.clean.with_suffix(".depth.png")
        images = [path for path in (self.clean, self.degraded) if path is not None]
        return [*images, *([depth] if self.side_by_side and depth.is_file() else [])]

    def load(self) -> Pair:
        """Read the images and degrade them.

        Raises:
            ImageError: A file is no image, or the sizes of a pair or of a depth map differ.
        """
        clean = read_photograph(self.clean).pixels
        degraded = clean if self.degraded is None else read_photograph(self.degraded).pixels
        if degraded.shape != clean.shape:
            found = ((self.degraded, degraded), (self.clean, clean))
            sizes = [f"{path} {pixels.shape[2]} x {pixels.shape[1]}" for path, pixels in found]
            message = f"sizes are {' and '.join(sizes)} pixels; expected the same: crop or pair them alike"
            raise ImageError(message)
        if not self.side_by_side:
            return Pair(degraded, clean)
        seeds = torch.tensor([combine(combine(self.seed, self.draw), zlib.crc32(os.fsencode(self.image)))])
        depth = _depth_beside(self.clean, clean)
        made = degraded.clone()
        edges = [round(clean.shape[2] * index / len(self.side_by_side)) for index in range(len(self.side_by_side) + 1)]
        plans = [synthesizer.plan(seeds, synthesizer.sources[-1]) for synthesizer in self.side_by_side]
        for synthesizer, plan, left, right in zip(self.side_by_side, plans, edges, edges[1:], strict=False):
            made[..., left:right] = synthesizer(degraded[None], plan, depth).degraded[0, ..., left:right]
        return Pair(made, clean, plans[0] if len(plans) == 1 else None)


def side_by_side(degradation: str) -> tuple[Synthesizer, ...]:
    """What makes a degradation in the grammar, or several in vertical strips of equal width, joined by ``|``.

    Raises:
        InputError: It is not known.
    """
    return tuple(Synthesizer.only(parse_degradation(part)) for part in degradation.split("|"))


def find_pairs(
    source: Path | None, target: Path | None, clean: Path | None, degrade: Sequence[str] | None, draws: int, seed: int
) -> list[PairSource]:
    """The pairs that the options of ``abair-pl evaluate`` describe.

    Raises:
        InputError: The options do not fit together, or files have no partner.
    """
    if source is not None and target is not None and clean is None and degrade is None:
        degraded, reference = by_stem(source), by_stem(target)
        lonely = sorted(degraded.keys() ^ reference.keys())
        if lonely:
            message = f"{len(lonely)} images have no partner of the same stem, such as '{lonely[0]}'; name pairs alike"
            raise InputError(message)
        return [PairSource(stem, reference[stem], degraded[stem]) for stem in degraded]
    if clean is not None and degrade and source is None and target is None:
        check_draws(draws, seed)
        if len(set(degrade)) < len(degrade):
            message = f"degrade is {' '.join(degrade)}; expected each once: for several draws, raise --draws"
            raise InputError(message)
        made = {degradation: side_by_side(degradation) for degradation in degrade}
        paths = by_stem(clean)
        return [
            PairSource(stem, path, None, degradation, draw, seed, synthesizers)
            for degradation, synthesizers in made.items()
            for draw in range(draws)
            for stem, path in paths.items()
        ]
    message = "expected either --input and --target, or --clean and --degrade"
    raise InputError(message)


def check_draws(draws: int, seed: int) -> None:
    """Raise :class:`InputError` for a number of draws below 1, or a seed that is none."""
    if draws < 1:
        message = f"draws is {draws}; expected at least 1"
        raise InputError(message)
    if not 0 <= seed < SEED_LIMIT:
        message = f"seed is {seed}; expected at least 0 and less than 2**53"
        raise InputError(message)


def by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder, or the one that is given, by their stems.

    Raises:
        InputError: Two have the same.
    """
    named: dict[str, Path] = {}
    for path in find_images([folder]):
        if path.stem in named:
            message = f"{path} and {named[path.stem]} have the same stem; expected one image of it: rename one"
            raise InputError(message)
        named[path.stem] = path
    return named


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
