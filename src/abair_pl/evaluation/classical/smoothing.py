"""Smoothing: JPEG's blocks by a bilateral filter, rain and snow by a median."""

import cv2

from abair_pl.degradations import Plan
from abair_pl.evaluation.classical.base import Classical, Pixels

_SIDE_PX, _SIGMA_COLOR, _SIGMA_PX = 7, 0.1, 1.5
_MEDIAN_PX = 3


def _bilateral(degraded: Pixels, plan: Plan | None) -> Pixels:
    return cv2.bilateralFilter(degraded, _SIDE_PX, _SIGMA_COLOR, _SIGMA_PX)


def _median(degraded: Pixels, plan: Plan | None) -> Pixels:
    return cv2.medianBlur(degraded, _MEDIAN_PX)


DEBLOCKING = Classical(
    degradations=("jpeg",),
    summary=f"OpenCV's bilateral filter (Tomasi and Manduchi, ICCV 1998), sigma {_SIGMA_PX:g} px and "
    f"{_SIGMA_COLOR * 255:.0f} of 255 levels",
    package="opencv-python-headless",
    restore=_bilateral,
)
MEDIAN = Classical(
    degradations=("rain", "snow"),
    summary=f"OpenCV's median of {_MEDIAN_PX} x {_MEDIAN_PX} pixels, each channel for itself",
    package="opencv-python-headless",
    restore=_median,
)
