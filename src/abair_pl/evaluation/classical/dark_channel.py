"""Dehazing by the dark channel: without haze, some channel of some pixel nearby is dark."""

import cv2
import numpy as np
import torch
from kornia.filters import guided_blur
from numpy.typing import NDArray

from abair_pl.degradations import Plan
from abair_pl.evaluation.classical.base import Classical, Pixels

_PATCH_PX = 15
_KEPT = 0.95  # of the haze is removed, so that the distance remains distant
_LEAST_TRANSMISSION = 0.1
_BRIGHTEST = 0.001
_RADIUS_PX, _SMOOTHNESS = 40, 1e-3


def _restore(degraded: Pixels, plan: Plan | None) -> Pixels:
    airlight = _airlight(degraded)
    transmission = _refined(1.0 - _KEPT * _dark_channel(degraded / airlight), degraded)
    divisor: NDArray[np.float32] = np.maximum(transmission, np.float32(_LEAST_TRANSMISSION))[..., None]
    return airlight + (degraded - airlight) / divisor


def _dark_channel(image: Pixels) -> NDArray[np.float32]:
    """The lowest value of all channels in a patch around each pixel, ``(H, W)``."""
    return cv2.erode(image.min(axis=2), np.ones((_PATCH_PX, _PATCH_PX), dtype=np.uint8))


def _airlight(image: Pixels) -> NDArray[np.float32]:
    """The brightest pixel, ``(3,)``, of the thousandth whose dark channel is brightest; at least a grey level."""
    dark = _dark_channel(image).ravel()
    candidates = np.argsort(dark, kind="stable")[-max(1, round(_BRIGHTEST * dark.size)) :]
    pixels = image.reshape(-1, 3)[candidates]
    return np.maximum(pixels[pixels.sum(axis=1).argmax()], np.float32(1 / 255))


def _refined(transmission: NDArray[np.float32], image: Pixels) -> NDArray[np.float32]:
    """The transmission ``(H, W)`` with the edges of the image, by the guided filter (He et al., ECCV 2010)."""
    guide = torch.from_numpy(image).permute(2, 0, 1)[None]
    values = torch.from_numpy(transmission)[None, None]
    return guided_blur(guide, values, 2 * _RADIUS_PX + 1, _SMOOTHNESS, "replicate", separable=True)[0, 0].numpy()


DARK_CHANNEL = Classical(
    degradations=("haze",),
    summary=f"dark channel prior (He et al., CVPR 2009), patches of {_PATCH_PX} px, "
    f"guided filter of radius {_RADIUS_PX} px in place of soft matting",
    package="kornia",
    restore=_restore,
)
