"""From samples to a batch."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from abair_pl.batch import PhotoBatch, Position
from abair_pl.data.augment import Patch
from abair_pl.data.manifest import NAMED_PAIRS
from abair_pl.errors import ShardError


@dataclass(frozen=True)
class PhotoSample:
    """One patch, as workers hand it to :func:`collate`; the fields are those of a batch.

    Attributes:
        damage: The degradation that a pair shows; empty where its shards do not say.
    """

    patch: Patch
    key: str
    seed: int
    valid: bool = True
    position: Position | None = None
    broken: int = 0
    damage: str = ""


def collate(samples: list[PhotoSample]) -> PhotoBatch:
    """Stack samples to a batch.

    Raises:
        ShardError: Some samples are photographs, and some pairs of which nobody has said what they show.
    """
    damages = tuple(None if sample.patch.degraded is None else sample.damage for sample in samples)
    if None in damages and "" in damages:
        message = f"shards mix single photographs and pairs of no known degradation; expected {NAMED_PAIRS}"
        raise ShardError(message)
    partners = [sample.patch.clean if sample.patch.degraded is None else sample.patch.degraded for sample in samples]
    has_pairs = any(damage is not None for damage in damages)
    return PhotoBatch(
        clean=_stack([sample.patch.clean for sample in samples]),
        degraded=_stack(partners) if has_pairs else None,
        keys=tuple(sample.key for sample in samples),
        seeds=torch.tensor([sample.seed for sample in samples]),
        valid=torch.tensor([sample.valid for sample in samples]),
        depth=_depths([sample.patch for sample in samples]),
        position=samples[-1].position,
        broken=sum(sample.broken for sample in samples),
        damages=damages if has_pairs else (),
    )


def _stack(images: list[NDArray[np.uint8]]) -> torch.Tensor:
    """``(B, 3, H, W)`` from ``(H, W, 3)`` arrays."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def _depths(patches: list[Patch]) -> torch.Tensor | None:
    """``(B, 1, H, W)``, NaN where a sample has none; None where none has."""
    if all(patch.depth is None for patch in patches):
        return None
    missing = np.full(patches[0].clean.shape[:2], np.nan, dtype=np.float32)
    return torch.from_numpy(np.stack([missing if patch.depth is None else patch.depth for patch in patches])[:, None])
