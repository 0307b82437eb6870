"""What can be asked of a restoration, and what is refused before it."""

from collections.abc import Mapping

import torch

from abair_pl.errors import InputError

ESTIMATED_BLENDS = ("one_hot", "soft")
"""Blends whose weights come from the estimator, which may find that no adapter fits."""

BLIND_BLENDS = (*ESTIMATED_BLENDS, "pixel")
"""Blends whose weights come from looking at the image, by the estimator, the segmentation head or both."""


def check_strength(strength: float) -> None:
    """Raise :class:`InputError` for a strength out of [0, 1]."""
    if not 0.0 <= strength <= 1.0:
        message = f"strength is {strength:g}; expected 0 (the image as it is) to 1 (all that the network changes)"
        raise InputError(message)


def check_passes(passes: int, blend: str = "soft", weights: Mapping[str, float] | None = None) -> None:
    """Raise :class:`InputError` for a number of passes below 1, or above it where no estimator chooses."""
    if passes < 1:
        message = f"passes is {passes}; expected 1 or more"
        raise InputError(message)
    if passes > 1 and (weights is not None or blend not in ESTIMATED_BLENDS):
        chosen = f"the blend is {blend}" if weights is None else "weights are given"
        message = f"passes is {passes} and {chosen}; expected one of {', '.join(ESTIMATED_BLENDS)}, or a single pass"
        raise InputError(message)


def check_device(device: str) -> None:
    """Raise :class:`InputError` where ``cuda`` is asked for and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        message = "no CUDA device here; expected --device cpu or auto"
        raise InputError(message)
