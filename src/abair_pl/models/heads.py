"""The segmentation head: which degradation covers each pixel."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.layers import ChannelNorm


class _ResidualConvs(nn.Module):
    """Two 3 x 3 convolutions on a normalised residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim)
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.gelu(self.conv1(self.norm(x))))


class SegmentationHead(nn.Module):
    """Predicts the degradation of each pixel from the encoder's features (paper, phase I).

    A light feature pyramid: the features of each level are refined and projected, added from coarse to fine, and
    classified at the resolution of the finest. Reading the encoder only lets label maps be had for half a forward pass.

    Args:
        dims: Channels of the encoder's levels, finest first.
        hidden: Channels of the head.
        blocks: Residual blocks on each level.
        labels: Number of labels, clean among them.
    """

    def __init__(self, dims: Sequence[int], hidden: int, blocks: int, labels: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Sequential(*(_ResidualConvs(dim) for _ in range(blocks)), nn.Conv2d(dim, hidden, 1)) for dim in dims
        )
        self.mix = nn.Sequential(
            ChannelNorm(hidden),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.Conv2d(hidden, hidden, 1),
            nn.GELU(),
        )
        self.classify = nn.Conv2d(hidden, labels, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Classify the pixels.

        Args:
            features: One ``(B, C, h, w)`` for each level, finest first.
            size: ``(H, W)`` of the image.

        Returns:
            Logits ``(B, labels, H, W)``.
        """
        coarse_to_fine = list(zip(features, self.project, strict=True))[::-1]
        total = coarse_to_fine[0][1](coarse_to_fine[0][0])
        for feature, project in coarse_to_fine[1:]:
            total = project(feature) + F.interpolate(total, feature.shape[2:], mode="bilinear")
        logits = self.classify(self.mix(total))
        return F.interpolate(logits, size, mode="bilinear")
