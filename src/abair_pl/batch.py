"""What travels from the loader to the modules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Position:
    """Where a worker's stream stands after a sample.

    Attributes:
        worker: The worker, counted within its rank.
        drawn: Samples given since the first epoch.
        sources: For each source, its epoch, and the number of samples read in it.
    """

    worker: int
    drawn: int
    sources: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PhotoBatch:
    """Photographs as the loader's workers give them, still 8-bit.

    Attributes:
        clean: ``(B, 3, H, W)`` uint8 RGB.
        degraded: The same shape for real pairs, of photographs between them ``clean`` again; None where there are no
            pairs, and the synthesizer is to degrade all.
        keys: The samples' names in their shards.
        seeds: ``(B,)`` int64 in [0, 2**53), what each sample's degradation is drawn from; stays on the CPU.
        valid: ``(B,)`` bool; False marks repeats that only fill up a rank's last batches, left out of metrics.
        depth: ``(B, 1, H, W)`` float32 in [0, 1] with 1 farthest, NaN for samples without; None where all are.
        position: Where the stream of the worker that made the batch stands after it; None in evaluation.
        broken: Samples that were left out on the way to this batch, because they could not be decoded.
        damages: Where there are pairs, for each sample the degradation that a pair shows, empty where its shards do not
            say, and None for a photograph.
    """

    clean: Tensor
    degraded: Tensor | None
    keys: tuple[str, ...]
    seeds: Tensor
    valid: Tensor
    depth: Tensor | None = None
    position: Position | None = None
    broken: int = 0
    damages: tuple[str | None, ...] = ()

    def part(self, pairs: bool) -> "PhotoBatch | None":
        """The pairs of the batch, or the photographs that the synthesizer is to degrade; None if there are none."""
        if self.degraded is None:
            return None if pairs else self
        rows = [row for row, name in enumerate(self.damages) if (name is not None) == pairs]
        if not rows:
            return None
        if len(rows) == len(self.keys):
            return self if pairs else replace(self, degraded=None, damages=())
        at = torch.tensor(rows)
        chosen = self._with_images(lambda images: images.index_select(0, at.to(images.device)))
        return replace(
            chosen,
            degraded=chosen.degraded if pairs else None,
            keys=tuple(self.keys[row] for row in rows),
            seeds=self.seeds[at],
            damages=tuple(self.damages[row] for row in rows) if pairs else (),
        )

    def to(self, device: torch.device, non_blocking: bool = False) -> "PhotoBatch":
        """The batch with its images on a device (Lightning calls this)."""
        return self._with_images(lambda images: images.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PhotoBatch":
        """The batch with its images in page-locked memory (the loader calls this)."""
        return self._with_images(Tensor.pin_memory)

    def _with_images(self, change: Callable[[Tensor], Tensor]) -> "PhotoBatch":
        return replace(
            self,
            clean=change(self.clean),
            degraded=None if self.degraded is None else change(self.degraded),
            valid=change(self.valid),
            depth=None if self.depth is None else change(self.depth),
        )


@dataclass(frozen=True)
class RestorationBatch:
    """What a module trains and validates on.

    Attributes:
        clean: ``(B, 3, H, W)`` float32 RGB in [0, 1].
        degraded: The same shape and range.
        labels: ``(B, H, W)`` int64, the degradation of each pixel, of a composite the leading one; 0 is clean.
        shares: ``(B, K + 1)`` float32, the share of the image that is clean, and that each degradation touches.
        keys: The samples' names.
        valid: ``(B,)`` bool; False marks repeats that metrics leave out.
    """

    clean: Tensor
    degraded: Tensor
    labels: Tensor
    shares: Tensor
    keys: tuple[str, ...]
    valid: Tensor

    @classmethod
    def joined(cls, parts: "Sequence[RestorationBatch]") -> "RestorationBatch":
        """Several batches one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            clean=torch.cat([part.clean for part in parts]),
            degraded=torch.cat([part.degraded for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            shares=torch.cat([part.shares for part in parts]),
            keys=tuple(key for part in parts for key in part.keys),
            valid=torch.cat([part.valid for part in parts]),
        )
