"""Degradation CutMix: regions of one photograph with a degradation each (paper, section on phase I)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import one_thread
from abair_pl.degradations.random import child_seeds, smooth_field, unit_draws
from abair_pl.degradations.transfer import moved

MAX_REGIONS = 4
SHAPES = ("whole", "rectangle", "smooth")
_WHOLE, _RECTANGLE, _SMOOTH = range(3)


@dataclass(frozen=True)
class Layout:
    """Which degradation goes where, for a batch.

    A sample's regions are painted in order: the first covers the whole image, each next one lies on top.

    Attributes:
        sample: ``(R,)`` index of the sample that a region belongs to.
        order: ``(R,)`` position in its sample's order of painting.
        source: ``(R,)`` what is done there: 0 is clean, then the synthesizer's degradations, then its composites.
        seed: ``(R,)`` the seed of the region's degradation and of its shape.
        shape: ``(R,)`` index into :data:`SHAPES`.
        box: ``(R, 4)`` left, top, right, bottom of a rectangle as fractions of the image.
        level: ``(R,)`` where a smooth field, in [0, 1], is cut for a smooth mask.
        softness: ``(R,)`` over which part of the field's range a smooth mask goes from 0 to 1.
    """

    sample: NDArray[np.int64]
    order: NDArray[np.int64]
    source: NDArray[np.int64]
    seed: NDArray[np.int64]
    shape: NDArray[np.int64]
    box: NDArray[np.float32]
    level: NDArray[np.float32]
    softness: NDArray[np.float32]

    def record(self, region: int) -> dict[str, Any]:
        """One region in plain JSON types."""
        shape = int(self.shape[region])
        record: dict[str, Any] = {"seed": int(self.seed[region]), "shape": SHAPES[shape]}
        if shape == _RECTANGLE:
            record["box"] = self.box[region].tolist()
        if shape == _SMOOTH:
            record |= {"level": float(self.level[region]), "softness": float(self.softness[region])}
        return record

    @classmethod
    def from_records(cls, records: list[list[dict[str, Any]]], sources: dict[str, int]) -> "Layout":
        """The layout of samples whose regions were recorded, each sample's in the order of painting.

        Args:
            records: A list of regions for each sample; each has its ``source`` by name too.
            sources: The index of each source.
        """
        flat = [(index, order, region) for index, sample in enumerate(records) for order, region in enumerate(sample)]
        whole = [0.0, 0.0, 1.0, 1.0]
        return cls(
            sample=np.array([index for index, _, _ in flat], dtype=np.int64),
            order=np.array([order for _, order, _ in flat], dtype=np.int64),
            source=np.array([sources[region["source"]] for _, _, region in flat], dtype=np.int64),
            seed=np.array([region["seed"] for _, _, region in flat], dtype=np.int64),
            shape=np.array([SHAPES.index(region["shape"]) for _, _, region in flat], dtype=np.int64),
            box=np.array([region.get("box", whole) for _, _, region in flat], dtype=np.float32),
            level=np.array([region.get("level", 0.0) for _, _, region in flat], dtype=np.float32),
            softness=np.array([region.get("softness", 1.0) for _, _, region in flat], dtype=np.float32),
        )


@dataclass(frozen=True)
class LayoutConfig:
    """What layouts are drawn from.

    Attributes:
        degradations: How many there are.
        composites: How many composites there are.
        cutmix_probability: Share of samples with more than one region.
        cutmix_regions: Fewest and most regions of such a sample.
        smooth_probability: Share of their upper regions that are smooth masks; the others are rectangles.
        clean_probability: Share of samples of one region that stay clean.
        composite_probability: Share of degraded regions that get a composite.
        frequencies: How often each degradation is drawn, relative to the others; all the same if empty. In regions,
            clean is as frequent as the mean of them.
    """

    degradations: int
    composites: int = 0
    cutmix_probability: float = 0.0
    cutmix_regions: tuple[int, int] = (2, 4)
    smooth_probability: float = 0.0
    clean_probability: float = 0.0
    composite_probability: float = 0.0
    frequencies: tuple[float, ...] = ()


def draw_layout(seeds: NDArray[np.int64], config: LayoutConfig) -> Layout:
    """Draw regions, each sample's from its own seed.

    The regions of one sample get different ones of clean and the degradations; each that is not clean may then be given
    a composite instead.

    Args:
        seeds: ``(B,)``.
        config: What from.
    """
    labels = config.degradations + 1
    names = ["cut", "regions", "clean", "whole", *(f"rank/{label}" for label in range(labels))]
    names += [f"{side}/{region}" for region in range(MAX_REGIONS) for side in _SIDES]
    draws = dict(zip(names, unit_draws(seeds, [f"cutmix/{name}" for name in names]).T, strict=True))
    fewest, most = (min(count, labels) for count in config.cutmix_regions)
    cut = draws["cut"] < config.cutmix_probability
    counts = np.where(cut, fewest + (draws["regions"] * (most - fewest + 1)).astype(np.int64), 1)
    frequency = np.array(config.frequencies or (1.0,) * config.degradations)
    relative = np.concatenate(([1.0], frequency / frequency.mean()))
    # Drawn without replacement in proportion to their frequencies (Efraimidis & Spirakis, 2006).
    waits = -np.log1p(-np.stack([draws[f"rank/{label}"] for label in range(labels)]).astype(np.float64))
    shuffled = np.argsort(waits / relative[:, None], axis=0)
    whole = 1 + np.searchsorted(np.cumsum(frequency)[:-1] / frequency.sum(), draws["whole"], side="right")
    whole = np.where(draws["clean"] < config.clean_probability, 0, whole)
    parts = []
    for order in range(int(counts.max())):
        sample = np.flatnonzero(counts > order)
        mine = {side: draws[f"{side}/{order}"][sample] for side in _SIDES}
        source = np.where(cut, shuffled[order], whole)[sample]
        mixed = (source > 0) & (mine["composite"] < config.composite_probability) & (config.composites > 0)
        source = np.where(mixed, labels + (mine["which"] * config.composites).astype(np.int64), source)
        shape = np.where(mine["smooth"] < config.smooth_probability, _SMOOTH, _RECTANGLE) if order else _WHOLE
        extent = 0.3 + 0.5 * np.stack([mine["width"], mine["height"]], axis=1)
        corner = np.stack([mine["x"], mine["y"]], axis=1) * (1.0 - extent)
        parts.append(
            (
                sample,
                np.full_like(sample, order),
                source,
                child_seeds(seeds[sample], f"region/{order}"),
                np.broadcast_to(shape, sample.shape).astype(np.int64),
                np.concatenate([corner, corner + extent], axis=1).astype(np.float32),
                (0.4 + 0.2 * mine["level"]).astype(np.float32),
                (0.02 + 0.18 * mine["softness"] ** 2).astype(np.float32),
            )
        )
    return Layout(*(np.concatenate(column) for column in zip(*parts, strict=True)))


_SIDES = ("composite", "which", "smooth", "width", "height", "x", "y", "level", "softness")


def uniform_layout(seeds: NDArray[np.int64], source: int) -> Layout:
    """One region over the whole image for each sample, all with the same source."""
    regions = [{"source": "", "seed": int(seed), "shape": "whole"} for seed in child_seeds(seeds, "region/0")]
    return Layout.from_records([[region] for region in regions], {"": source})


def coverage(layout: Layout, regions: NDArray[np.int64], size: tuple[int, int], device: torch.device) -> Tensor:
    """How far each region covers what lies beneath it, ``(N, H, W)`` in [0, 1].

    Args:
        layout: The layout.
        regions: ``(N,)`` which of its regions.
        size: ``(H, W)`` in pixels.
        device: Where to.
    """
    rectangles, smooth = (np.flatnonzero(layout.shape[regions] == shape) for shape in (_RECTANGLE, _SMOOTH))
    values = {
        "rectangles": rectangles,
        "smooth": smooth,
        "box": layout.box[regions[rectangles]],
        "seed": layout.seed[regions[smooth]],
        "level": layout.level[regions[smooth]],
        "softness": layout.softness[regions[smooth]],
    }
    at = moved({name: torch.from_numpy(value) for name, value in values.items()}, device)
    covered = torch.ones(len(regions), *size, device=device)
    if len(rectangles):
        covered.index_copy_(0, at["rectangles"], _inside(at["box"], size).float())
    if len(smooth):
        level, softness = at["level"].view(-1, 1, 1), at["softness"].view(-1, 1, 1)
        soft = ((_fields(at["seed"], size) - level) / softness + 0.5).clamp_(0.0, 1.0)
        covered.index_copy_(0, at["smooth"], soft)
    return covered


def _fields(seeds: Tensor, size: tuple[int, int]) -> Tensor:
    """The fields of smooth masks, ``(N, H, W)``; on a CPU one by one, as its matrix product rounds by the batch."""
    if seeds.device.type != "cpu":
        return smooth_field(seeds, "cutmix/mask", size, octaves=2)[:, 0]
    with one_thread():
        return torch.cat([smooth_field(seed, "cutmix/mask", size, octaves=2)[0] for seed in seeds.split(1)])


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks ``(R, H, W)`` of the pixels whose centres lie in boxes given as fractions."""
    height, width = size
    y = ((torch.arange(height, device=boxes.device) + 0.5) / height).view(1, -1, 1)
    x = ((torch.arange(width, device=boxes.device) + 0.5) / width).view(1, 1, -1)
    left, top, right, bottom = (side.view(-1, 1, 1) for side in boxes.unbind(1))
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)
