"""The degradation estimator of phase III."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.backbone import reflect_to_multiple
from abair_pl.models.layers import ChannelNorm

_VIEW_PX = 64
_CROPS_PER_SIDE = 3


class _ConvBlock(nn.Module):
    """Depth-wise 5 x 5 and two point-wise convolutions on a residual branch (ConvNeXt, Liu et al., CVPR 2022)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(dim, dim, 5, padding=2, groups=dim),
            ChannelNorm(dim),
            nn.Conv2d(dim, dim * 3, 1),
            nn.GELU(),
            nn.Conv2d(dim * 3, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class _Tower(nn.Module):
    """Three stages at 1/2, 1/4 and 1/8 of the resolution, pooled to mean and deviation over the pixels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv2d(3, dim, 3, stride=2, padding=1),
            ChannelNorm(dim),
            _ConvBlock(dim),
            nn.Conv2d(dim, dim * 2, 2, stride=2),
            _ConvBlock(dim * 2),
            nn.Conv2d(dim * 2, dim * 4, 2, stride=2),
            _ConvBlock(dim * 4),
            ChannelNorm(dim * 4),
        )
        self.features = dim * 8

    def forward(self, views: Tensor) -> Tensor:
        x = self.stages(views).flatten(2)
        deviation = x.var(dim=2, correction=0).add(1e-6).sqrt()  # the square root of 0 has no gradient
        return torch.cat((x.mean(dim=2), deviation), dim=1)


class Estimator(nn.Module):
    """Tells which degradations an image has.

    Two towers look at it: one at nine native-resolution crops of 64 pixels on a grid, where noise and blur show, and
    one at the whole image reduced to 64 pixels, where haze and low light do.

    Args:
        dim: Channels of the first stage.
        labels: Number of classes, clean first.
    """

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.texture = _Tower(dim)
        self.overview = _Tower(dim)
        self.classify = nn.Sequential(
            nn.Linear(self.texture.features * 2 + self.overview.features, dim * 8),
            nn.GELU(),
            nn.Linear(dim * 8, labels),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Classify whole images.

        Args:
            image: ``(B, 3, H, W)`` RGB in [0, 1], any size.

        Returns:
            Logits ``(B, K + 1)``, clean first; their softmax are the probabilities.
        """
        crops = native_crops(image)
        texture = self.texture(crops.flatten(0, 1) - 0.5).unflatten(0, crops.shape[:2])
        overview = self.overview(F.adaptive_avg_pool2d(image, _VIEW_PX) - 0.5)
        logits: Tensor = self.classify(torch.cat((texture.mean(dim=1), texture.amax(dim=1), overview), dim=1))
        return logits


def native_crops(image: Tensor) -> Tensor:
    """Crops of 64 x 64 pixels on a regular grid, fewer where they would coincide.

    Args:
        image: ``(B, 3, H, W)``; sides below 64 pixels are reflected.

    Returns:
        ``(B, N, 3, 64, 64)`` with N up to 9.
    """
    short = min(image.shape[2:]) < _VIEW_PX
    image = reflect_to_multiple(image, _VIEW_PX) if short else image
    tops, lefts = (
        sorted({round((side - _VIEW_PX) * step / (_CROPS_PER_SIDE - 1)) for step in range(_CROPS_PER_SIDE)})
        for side in image.shape[2:]
    )
    crops = [image[..., top : top + _VIEW_PX, left : left + _VIEW_PX] for top in tops for left in lefts]
    return torch.stack(crops, dim=1)
