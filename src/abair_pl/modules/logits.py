"""All logits of an epoch, for measures that are no means over images."""

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class GatheredLogits(Metric):
    """The logits and classes of the images that all ranks have seen, which need not be equally many."""

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add images: ``(B, K + 1)`` logits and ``(B,)`` int64 classes; B may be 0."""
        self.logits.append(logits.float())
        self.labels.append(labels)

    def compute(self) -> tuple[Tensor, Tensor]:
        """``(N, K + 1)`` float32 and ``(N,)`` int64, each rank's after those of the one before."""
        return dim_zero_cat(self.logits), dim_zero_cat(self.labels)
