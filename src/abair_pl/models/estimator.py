"""The degradation estimator of phase III."""

from collections.abc import Sequence
from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.backbone import reflect_to_multiple
from abair_pl.models.codec_traces import CODEC_TRACES, codec_traces
from abair_pl.models.layers import ChannelNorm

_VIEW_PX = 64
_CROPS_PER_SIDE = 5
_BANDS = 4


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
    """Three stages at 1/4, 1/8 and 1/16 of the resolution, pooled to mean and deviation over the pixels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv2d(3, dim, 4, stride=4),
            ChannelNorm(dim),
            _ConvBlock(dim),
            nn.Conv2d(dim, dim * 2, 2, stride=2),
            _ConvBlock(dim * 2),
            nn.Conv2d(dim * 2, dim * 4, 2, stride=2),
            _ConvBlock(dim * 4),
            ChannelNorm(dim * 4),
        )
        self.dropout = nn.Dropout(0.5)  # or a small training set is learned by heart before the statistics are used
        self.features = dim * 8

    def forward(self, views: Tensor) -> Tensor:
        x = self.stages(views).flatten(2)
        deviation = x.var(dim=2, correction=0).add(1e-6).sqrt()  # the square root of 0 has no gradient
        return self.dropout(torch.cat((x.mean(dim=2), deviation), dim=1))


class Estimator(nn.Module):
    """Tells which degradations an image has.

    It looks at native-resolution crops of 64 pixels on a grid, where noise and blur show, and at the whole image
    reduced to 64 pixels, where haze and low light do; at both with a convolutional tower and by the statistics of
    their frequency bands, which tell most degradations apart from the first training steps on; and at the traces of
    codecs in the whole image.

    Args:
        dim: Channels of the first stage.
        labels: Number of classes, clean first.
    """

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.texture = _Tower(dim)
        self.overview = _Tower(dim)
        features = 2 * (self.texture.features + BAND_FEATURES) + self.overview.features + BAND_FEATURES
        features += CODEC_TRACES
        self.classify = nn.Sequential(nn.Linear(features, dim * 8), nn.GELU(), nn.Linear(dim * 8, labels))

    def forward(self, image: Tensor) -> Tensor:
        """Classify whole images.

        Args:
            image: ``(B, 3, H, W)`` RGB in [0, 1], any size.

        Returns:
            Logits ``(B, K + 1)``, clean first; their softmax are the probabilities.
        """
        crops = native_crops(image)
        texture = _described(self.texture, crops.flatten(0, 1)).unflatten(0, crops.shape[:2])
        overview = _described(self.overview, F.adaptive_avg_pool2d(image, _VIEW_PX))
        described = (texture.mean(dim=1), texture.amax(dim=1), overview, codec_traces(image))
        logits: Tensor = self.classify(torch.cat(described, dim=1))
        return logits


def with_labels(estimator: Estimator, known: Sequence[str], labels: Sequence[str]) -> Estimator:
    """A copy of an estimator for other labels; of those that it knows it keeps the weights.

    Args:
        estimator: To copy.
        known: Its labels, in order.
        labels: Those of the copy, in order.
    """
    copied = deepcopy(estimator)
    old = cast("nn.Linear", copied.classify[-1])
    new = nn.Linear(old.in_features, len(labels))
    with torch.no_grad():
        for row, label in enumerate(labels):
            if label in known:
                new.weight[row] = old.weight[known.index(label)]
                new.bias[row] = old.bias[known.index(label)]
    copied.classify[-1] = new
    return copied


def _described(tower: _Tower, views: Tensor) -> Tensor:
    return torch.cat((tower(views - 0.5), band_statistics(views)), dim=1)


BAND_FEATURES = 8 * _BANDS + 9
"""Number of values that :func:`band_statistics` gives."""


def band_statistics(views: Tensor) -> Tensor:
    """Natural-scene statistics of the bands of a Laplacian pyramid (after Mittal et al., BRISQUE, TIP 2012).

    Args:
        views: ``(N, 3, H, W)`` in [0, 1], both sides multiples of 16.

    Returns:
        ``(N, 41)``: for each of four bands, by channel the logarithm of the deviation and how peaked the distribution
        is, and of the channels' mean how much of the deviation it keeps (streaks are grey, noise is not) and its
        skewness (streaks are bright); for what is left, by channel the mean, its logarithm, and that of the deviation.
    """
    values = []
    level = views.float()
    for _ in range(_BANDS):
        coarse = F.avg_pool2d(level, 2)
        band = level - F.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        deviation = band.square().mean(dim=(2, 3)).add(1e-8).log() / 2.0
        grey = band.mean(dim=1, keepdim=True)
        spread = grey.square().mean(dim=(2, 3)).add(1e-8).sqrt()
        values += [deviation, band.abs().mean(dim=(2, 3)).add(1e-4).log() - deviation]
        values += [spread.log() - deviation.mean(dim=1, keepdim=True), grey.pow(3).mean(dim=(2, 3)) / spread.pow(3)]
        level = coarse
    mean = level.mean(dim=(2, 3))
    values += [mean, mean.clamp_min(0.0).add(1e-2).log(), level.var(dim=(2, 3), correction=0).add(1e-8).log() / 2.0]
    return torch.cat(values, dim=1)


def native_crops(image: Tensor) -> Tensor:
    """Crops of 64 x 64 pixels, evenly spread, five a side where they fit without overlapping.

    Args:
        image: ``(B, 3, H, W)``; sides below 64 pixels are reflected.

    Returns:
        ``(B, N, 3, 64, 64)`` with N up to 25.
    """
    short = min(image.shape[2:]) < _VIEW_PX
    image = reflect_to_multiple(image, _VIEW_PX) if short else image
    tops, lefts = (_starts(side) for side in image.shape[2:])
    crops = [image[..., top : top + _VIEW_PX, left : left + _VIEW_PX] for top in tops for left in lefts]
    return torch.stack(crops, dim=1)


def _starts(side: int) -> list[int]:
    count = min(side // _VIEW_PX, _CROPS_PER_SIDE)
    spare = side - count * _VIEW_PX
    return [round(spare * (index + 0.5) / count) + index * _VIEW_PX for index in range(count)]
