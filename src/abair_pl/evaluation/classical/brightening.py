"""Brightening of photographs taken in too little light: by a power law, and by the local histogram."""

import cv2
import numpy as np

from abair_pl.degradations import Plan
from abair_pl.evaluation.classical.base import Classical, Pixels

_CLIP_LIMIT, _TILES = 4.0, 8
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def _by_gamma(degraded: Pixels, plan: Plan | None) -> Pixels:
    mean = np.clip((degraded @ _LUMA).mean(dtype=np.float64), 1 / 255, 254 / 255)
    return degraded ** np.float32(np.log(0.5) / np.log(mean))


def _by_histogram(degraded: Pixels, plan: Plan | None) -> Pixels:
    lab = cv2.cvtColor(degraded, cv2.COLOR_RGB2LAB)  # of floats: lightness from 0 to 100
    lightness = (lab[..., 0] * 2.55).round().astype(np.uint8)  # of 16 bits, tiles have too few pixels to clip
    lab[..., 0] = cv2.createCLAHE(_CLIP_LIMIT, (_TILES, _TILES)).apply(lightness).astype(np.float32) / 2.55
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


GAMMA = Classical(
    degradations=("low_light",),
    summary="the power law that takes the mean luma of the image to half of white's",
    package="numpy",
    restore=_by_gamma,
)
CLAHE = Classical(
    degradations=("low_light",),
    summary="OpenCV's contrast limited adaptive histogram equalization (Zuiderveld 1994) of the lightness in Lab, "
    f"clip limit {_CLIP_LIMIT:g}, {_TILES} x {_TILES} tiles",
    package="opencv-python-headless",
    restore=_by_histogram,
)
