"""More bits for a pixel: the middle of its step, smoothed within the step."""

import cv2
import numpy as np

from abair_pl.degradations import Plan
from abair_pl.evaluation.classical.base import Classical, Pixels

_SIDE_PX, _SIGMA_PX = 7, 2.0


def _restore(degraded: Pixels, plan: Plan | None) -> Pixels:
    levels = (degraded * 255.0).round().astype(np.int32)
    step = max(1, int(np.gcd.reduce(levels, axis=None)))
    lowest = levels.astype(np.float32) / 255.0
    width = np.float32((step - 1) / 255.0)
    smooth = cv2.bilateralFilter(lowest + width / 2, _SIDE_PX, step / 255.0, _SIGMA_PX)
    return np.clip(smooth, lowest, lowest + width)


DEQUANTIZATION = Classical(
    degradations=("bit_depth",),
    summary="the middle of each pixel's step, read off the image as the divisor of all its values, "
    f"then OpenCV's bilateral filter of sigma {_SIGMA_PX:g} px and one step, kept within the step",
    package="opencv-python-headless",
    restore=_restore,
)
