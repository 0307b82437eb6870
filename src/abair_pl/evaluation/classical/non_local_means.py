"""Non-local means: each pixel is the mean of pixels with alike surroundings."""

import cv2
import numpy as np
from skimage.restoration import estimate_sigma

from abair_pl.degradations import Plan
from abair_pl.evaluation.classical.base import Classical, Pixels
from abair_pl.evaluation.classical.truth import noise_sigma

_STRENGTH = 0.6
"""Of the filter over the standard deviation of the noise: OpenCV works in Lab, whose channels have less of it."""


def _restore(degraded: Pixels, plan: Plan | None) -> Pixels:
    sigma = float(estimate_sigma(degraded, average_sigmas=True, channel_axis=-1)) if plan is None else noise_sigma(plan)
    strength = _STRENGTH * 255.0 * sigma
    bgr = np.ascontiguousarray((degraded[..., ::-1] * 255.0).round().astype(np.uint8))
    denoised = cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength, 7, 21)
    return denoised[..., ::-1].astype(np.float32) / 255.0


NON_LOCAL_MEANS = Classical(
    degradations=("noise",),
    summary="OpenCV's fastNlMeansDenoisingColored (Buades et al., CVPR 2005), "
    f"patches of 7 and windows of 21 px, strength {_STRENGTH} of the standard deviation",
    package="opencv-python-headless",
    restore=_restore,
    told="the standard deviation of the noise",
    untold="scikit-image's estimate_sigma",
)
