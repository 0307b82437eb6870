"""BM3D: alike blocks are found, transformed together and shrunk."""

import numpy as np
from skimage.restoration import estimate_sigma

from abair_pl.degradations import Plan
from abair_pl.evaluation.classical.base import Classical, Pixels
from abair_pl.evaluation.classical.truth import noise_sigma


def _restore(degraded: Pixels, plan: Plan | None) -> Pixels:
    from bm3d import BM3DProfile, bm3d_rgb  # optional

    profile = BM3DProfile()
    profile.num_threads = 1  # others add in another order each time
    sigma = float(estimate_sigma(degraded, average_sigmas=True, channel_axis=-1)) if plan is None else noise_sigma(plan)
    with np.errstate(divide="ignore", invalid="ignore"):  # it divides by the range of each opponent colour
        denoised = bm3d_rgb(degraded.astype(np.float64), sigma, profile)
    return np.where(np.isfinite(denoised), denoised, degraded).astype(np.float32)


BM3D = Classical(
    degradations=("noise",),
    summary="colour BM3D (Dabov et al., IEEE TIP 2007) with the package's standard profile, on one thread",
    package="bm3d",
    restore=_restore,
    told="the standard deviation of the noise",
    untold="scikit-image's estimate_sigma",
)
