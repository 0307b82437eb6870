"""Training losses."""

from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.errors import InputError, unknown_name

RestorationLoss = Literal["l1", "charbonnier", "l2"]

_CHARBONNIER_EPSILON = 1e-3
_FLOORS: dict[str, float] = {"l1": 0.01, "charbonnier": 0.01, "l2": 0.05}
_LARGEST_JUMP = 100.0
"""A step counts in the running mean as at most this many times the larger of mean and floor."""


class BalancedRestorationLoss(nn.Module):
    """L1, Charbonnier or squared error, balanced over degradations.

    Haze and low light leave errors ten times those of noise or blur and would own the gradient. So the error of the
    pixels of each label is divided by its own running mean, or by a floor if that is less: down to there, every
    degradation pulls with the same relative strength, as if the mean of the logarithms were minimised, which for the
    squared error is the mean PSNR. Without a floor, what is nearly clean (JPEG, bit depth) owns the gradient of the
    first steps; with one that stays, it is neglected to the end. So the floor can fall while training goes on. The
    factor of clean pixels, whose error is near 0, is bounded by half the mean factor of the degradations. A step that
    explodes moves a running mean by little, or it would silence its degradation for hundreds of steps.

    Args:
        labels: Number of labels, clean among them.
        kind: ``l1``, the mean absolute error, ``charbonnier``, ``sqrt(error ** 2 + 1e-6)``, or ``l2``, the mean squared
            error.
        floors: The floor at the first and at the last step, as an error in [0, 1], in between on a geometric line; 0.01
            throughout if left out, for ``l2`` 0.05.
        momentum: Share of the running mean that a step keeps.

    Raises:
        InputError: The kind is not known, or a floor is not in (0, 1].
    """

    def __init__(
        self,
        labels: int,
        kind: RestorationLoss = "l1",
        floors: tuple[float, float] | None = None,
        momentum: float = 0.98,
    ) -> None:
        super().__init__()
        if kind not in _FLOORS:
            raise unknown_name(kind, "restoration loss", _FLOORS)
        self.floors = (_FLOORS[kind], _FLOORS[kind]) if floors is None else floors
        if not all(0.0 < floor <= 1.0 for floor in self.floors):
            message = f"floors of the restoration loss are {self.floors}; expected two errors in (0, 1]"
            raise InputError(message)
        self.kind = kind
        self.momentum = momentum
        self.register_buffer("running_error", torch.zeros(labels))
        self.running_error: Tensor

    def forward(self, restored: Tensor, clean: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
        """The balanced error, around 1 whatever the degradations.

        Args:
            restored: ``(B, 3, H, W)``.
            clean: The same shape.
            labels: ``(B, H, W)``.
            progress: Share of the training that is done, in [0, 1].
        """
        difference = restored.float() - clean.float()
        error = difference.abs() if self.kind == "l1" else difference.square()
        if self.kind == "charbonnier":
            error = (error + _CHARBONNIER_EPSILON**2).sqrt()
        flat = labels.flatten()
        pixels = torch.bincount(flat, minlength=len(self.running_error)).float()
        totals = error.new_zeros(len(pixels)).index_add(0, flat, error.mean(dim=1).flatten())
        means = totals / pixels.clamp_min(1.0)
        self._update(totals.detach(), pixels, self._least(progress))
        return (means * self._factors(progress) * pixels).sum() / pixels.sum()

    @torch.no_grad()
    def _update(self, totals: Tensor, pixels: Tensor, least: float) -> None:
        sums = torch.stack((totals, pixels))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)  # or each rank would balance by its own few images
        means = sums[0] / sums[1].clamp_min(1.0)
        present = (sums[1] > 0) & means.isfinite()
        bounded = torch.minimum(means, _LARGEST_JUMP * self.running_error.clamp_min(least))
        kept = torch.where(self.running_error > 0, torch.lerp(bounded, self.running_error, self.momentum), means)
        self.running_error.copy_(torch.where(present, kept, self.running_error))

    def _least(self, progress: float) -> float:
        """The floor: a mean below it is balanced as if it were that."""
        first, last = self.floors
        floor = first * (last / first) ** progress
        return floor**2 if self.kind == "l2" else floor

    def _factors(self, progress: float) -> Tensor:
        seen = self.running_error > 0
        factors = torch.where(seen, 1.0 / self.running_error.clamp_min(self._least(progress)), 0.0)
        degraded = factors[1:]
        bound = 0.5 * degraded.sum() / (degraded > 0).sum().clamp_min(1)
        clean = torch.where(bound > 0, factors[:1].clamp(max=bound), factors[:1])
        return torch.cat((clean, degraded))


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus soft dice, the auxiliary loss of phase I (paper, Table 6).

    Args:
        logits: ``(B, K + 1, H, W)``.
        labels: ``(B, H, W)``.

    Returns:
        A scalar; the dice part is averaged over the labels that occur in the batch.
    """
    logits = logits.float()
    entropy = F.cross_entropy(logits, labels)
    probabilities = logits.softmax(dim=1)
    target = F.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).to(probabilities.dtype)
    overlap = (probabilities * target).sum(dim=(0, 2, 3))
    present = target.sum(dim=(0, 2, 3))
    dice = 1.0 - (2.0 * overlap + 1.0) / (probabilities.sum(dim=(0, 2, 3)) + present + 1.0)
    return entropy + dice[present > 0].mean()
