"""What the app does, as functions of images and numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from abair_pl.errors import ImageError
from abair_pl.images import Photograph, read_photograph
from abair_pl.models.weights import keep_clean
from abair_pl.restore import Abair

UNKNOWN = "unlike anything this bundle was trained for; the weights are a guess"

_MB = 1 << 20
_PERCENT = "\N{NO-BREAK SPACE}%"
_LEAST_SHARE = 0.05
"""What is less is not told in words."""


@dataclass(frozen=True)
class Limits:
    """What may be uploaded.

    Attributes:
        upload_mb: Megabytes of a file, of 1,048,576 bytes each.
        megapixels: Of a photograph.
    """

    upload_mb: float = 20.0
    megapixels: float = 12.0

    @property
    def upload_bytes(self) -> int:
        """The same in bytes."""
        return round(self.upload_mb * _MB)


@dataclass(frozen=True)
class Finding:
    """What the bundle finds in a photograph, and makes of it.

    Attributes:
        weights: The estimator's weight of each adapter by name.
        words: The same in words.
        labels: ``(H, W)`` int64, the degradation of each pixel, 0 is clean; None without a segmentation head.
        restored: ``(3, H, W)`` RGB in [0, 1], by these weights.
    """

    weights: dict[str, float]
    words: str
    labels: Tensor | None
    restored: Tensor


def read_upload(path: Path, limits: Limits) -> Photograph:
    """Read a file that may be anything.

    Raises:
        ImageError: It is no image, or larger than the limits.
    """
    size_bytes = path.stat().st_size
    if size_bytes > limits.upload_bytes:
        found = f"{path.name}: {size_bytes / _MB:.1f} MB"
        message = f"{found}; expected at most {limits.upload_mb:g} MB: save it with less quality"
        raise ImageError(message)
    return read_photograph(path, path.name, round(limits.megapixels * 1e6))


def find(model: Abair, photograph: Photograph) -> Finding:
    """Estimate the weights of a photograph and restore it by them; the estimator runs here alone."""
    result = model.restore(photograph.pixels)
    return Finding(result.weights, in_words(result.weights, result.is_guess), result.labels, result.restored)


def restore_by(model: Abair, photograph: Photograph, weights: Mapping[str, float]) -> Tensor:
    """Restore a photograph by given weights; what they lack to 1 stays as it is, as with the estimator's.

    Args:
        model: The bundle, ready to restore.
        photograph: The photograph.
        weights: By name.

    Returns:
        ``(3, H, W)`` RGB in [0, 1].
    """
    result = model.restore(photograph.pixels, weights=weights, with_labels=False)
    row = torch.tensor([list(weights.values())])
    return keep_clean(photograph.pixels[None], result.restored[None], row)[0]


def at_strength(photograph: Photograph, restored: Tensor, strength: float) -> Photograph:
    """A photograph restored in part.

    Args:
        photograph: The photograph, whose alpha, profile and EXIF are kept.
        restored: ``(3, H, W)`` RGB in [0, 1].
        strength: From 0 for the photograph as it is to 1 for the restored one.
    """
    return replace(photograph, pixels=torch.lerp(photograph.pixels, restored, strength))


def in_words(weights: Mapping[str, float], guess: bool) -> str:
    """What the estimator found, such as "rain 71 %, clean 15 %, blur 12 %".

    Args:
        weights: Of each adapter, as ``soft`` gives them; what they lack to 1 is clean.
        guess: The damage is unlike any adapter, so that the weights are a guess.

    Examples:
        >>> in_words({"rain": 0.01, "low_light": 0.02}, guess=False)
        'clean'
    """
    if guess:
        return UNKNOWN
    shares = {**weights, "clean": 1.0 - sum(weights.values())}
    told = sorted((name for name in shares if shares[name] >= _LEAST_SHARE), key=lambda name: -shares[name])
    if told == ["clean"]:
        return "clean"
    return ", ".join(f"{name.replace('_', ' ')} {100 * shares[name]:.0f}{_PERCENT}" for name in told)
