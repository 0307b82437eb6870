"""What travels from the loader to the modules."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class PhotoBatch:
    """Photographs as the loader's workers give them, still 8-bit.

    Attributes:
        clean: ``(B, 3, H, W)`` uint8 RGB.
        degraded: The same shape for real pairs; None where the synthesizer is to degrade ``clean``.
        keys: The samples' names in their shards.
        seeds: ``(B,)`` int64 in [0, 2**53), what each sample's degradation is drawn from; stays on the CPU.
        valid: ``(B,)`` bool; False marks repeats that only fill up a rank's last batches, left out of metrics.
    """

    clean: Tensor
    degraded: Tensor | None
    keys: tuple[str, ...]
    seeds: Tensor
    valid: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "PhotoBatch":
        """The batch with its images on a device (Lightning calls this)."""
        degraded = None if self.degraded is None else self.degraded.to(device, non_blocking=non_blocking)
        clean = self.clean.to(device, non_blocking=non_blocking)
        return replace(self, clean=clean, degraded=degraded, valid=self.valid.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PhotoBatch":
        """The batch with its images in page-locked memory (the loader calls this)."""
        degraded = None if self.degraded is None else self.degraded.pin_memory()
        return replace(self, clean=self.clean.pin_memory(), degraded=degraded)


@dataclass(frozen=True)
class RestorationBatch:
    """What a module trains and validates on.

    Attributes:
        clean: ``(B, 3, H, W)`` float32 RGB in [0, 1].
        degraded: The same shape and range.
        labels: ``(B, H, W)`` int64, the degradation of each pixel; 0 is clean.
        keys: The samples' names.
        valid: ``(B,)`` bool; False marks repeats that metrics leave out.
    """

    clean: Tensor
    degraded: Tensor
    labels: Tensor
    keys: tuple[str, ...]
    valid: Tensor
