"""What a restoration gives back."""

from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from abair_pl.images import to_8bit


@dataclass(frozen=True)
class Result:
    """What :meth:`abair_pl.Abair.restore` gives back.

    Attributes:
        restored: ``(3, H, W)`` RGB float32 in [0, 1], on the CPU.
        weights: The weight of each adapter by name, in the first pass.
        labels: ``(H, W)`` int64, the degradation that the segmentation head sees at each pixel, 0 is clean; None where
            they were not asked for.
        unknown: The estimator finds the damage unlike any adapter, in the first pass; False where it was not asked.
        further: The weights of each pass after the first.
    """

    restored: Tensor
    weights: dict[str, float]
    labels: Tensor | None
    unknown: bool = False
    further: tuple[dict[str, float], ...] = ()

    @property
    def of_passes(self) -> list[dict[str, float]]:
        """The weights of each pass."""
        return [self.weights, *self.further]

    @property
    def is_guess(self) -> bool:
        """The weights are a guess: the damage is unlike any adapter, and the image was not found clean."""
        return self.unknown and any(self.weights.values())

    @property
    def image(self) -> Image.Image:
        """The restored image, 8-bit RGB."""
        return to_8bit(self.restored)
