"""Degradation CutMix: regions of one photograph with a degradation each (paper, section on phase I)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abair_pl.degradations.random import child_seeds, unit_draws

MAX_REGIONS = 4


@dataclass(frozen=True)
class Layout:
    """Which degradation goes where, for a batch.

    A sample's regions are painted in order: the first covers the whole image, each next one a rectangle on top.

    Attributes:
        sample: ``(R,)`` index of the sample that a region belongs to.
        order: ``(R,)`` position in its sample's order of painting.
        label: ``(R,)`` 0 is clean, then the degradations.
        box: ``(R, 4)`` left, top, right, bottom as fractions of the image.
        seed: ``(R,)`` the seed of the region's degradation.
    """

    sample: NDArray[np.int64]
    order: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float32]
    seed: NDArray[np.int64]


def draw_layout(
    seeds: NDArray[np.int64],
    labels: int,
    probability: float,
    regions: tuple[int, int],
    clean_probability: float,
) -> Layout:
    """Draw regions, each sample's from its own seed.

    Args:
        seeds: ``(B,)``.
        labels: Number of labels, clean among them.
        probability: Share of samples with more than one region.
        regions: Fewest and most regions of such a sample.
        clean_probability: Share of samples of one region that stay clean.

    Returns:
        The layout; the labels of one sample's regions are all different.
    """
    names = ["cut", "regions", "clean", "whole", *(f"rank/{label}" for label in range(labels))]
    names += [f"{side}/{region}" for region in range(1, MAX_REGIONS) for side in ("width", "height", "x", "y")]
    draws = dict(zip(names, unit_draws(seeds, [f"cutmix/{name}" for name in names]).T, strict=True))
    fewest, most = (min(count, labels) for count in regions)
    cut = draws["cut"] < probability
    counts = np.where(cut, fewest + (draws["regions"] * (most - fewest + 1)).astype(np.int64), 1)
    shuffled = np.argsort([draws[f"rank/{label}"] for label in range(labels)], axis=0)
    whole = 1 + (draws["whole"] * (labels - 1)).astype(np.int64)
    whole = np.where(draws["clean"] < clean_probability, 0, whole)
    parts: list[tuple[NDArray[np.int64], ...]] = []
    boxes: list[NDArray[np.float32]] = []
    for order in range(int(counts.max())):
        sample = np.flatnonzero(counts > order)
        label = np.where(cut, shuffled[order], whole)[sample]
        box = np.tile(np.array([0.0, 0.0, 1.0, 1.0], dtype=np.float32), (len(sample), 1))
        if order:
            sides = np.stack([draws[f"{side}/{order}"][sample] for side in ("width", "height", "x", "y")], axis=1)
            extent = 0.3 + 0.5 * sides[:, :2]
            corner = sides[:, 2:] * (1.0 - extent)
            box = np.concatenate([corner, corner + extent], axis=1).astype(np.float32)
        parts.append((sample, np.full_like(sample, order), label, child_seeds(seeds[sample], f"region/{order}")))
        boxes.append(box)
    sample, order_of, label, seed = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Layout(sample, order_of, label, np.concatenate(boxes), seed)


def uniform_layout(seeds: NDArray[np.int64], label: int) -> Layout:
    """One region over the whole image for each sample, all with the same label."""
    count = len(seeds)
    box = np.tile(np.array([0.0, 0.0, 1.0, 1.0], dtype=np.float32), (count, 1))
    zeros = np.zeros(count, dtype=np.int64)
    return Layout(np.arange(count), zeros, np.full(count, label, dtype=np.int64), box, child_seeds(seeds, "region/0"))
