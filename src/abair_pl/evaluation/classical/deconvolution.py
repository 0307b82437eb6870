"""Richardson-Lucy: the image that most probably gave the blurred one, by repeated correction."""

import numpy as np
from skimage.restoration import richardson_lucy

from abair_pl.degradations import Plan
from abair_pl.errors import InputError
from abair_pl.evaluation.classical.base import Classical, Pixels
from abair_pl.evaluation.classical.truth import blur_kernel

_ITERATIONS = 30
_BLACK = 1e-6
"""What is darker than this is left black: dividing by it gave no number."""


def _restore(degraded: Pixels, plan: Plan | None) -> Pixels:
    if plan is None:
        message = "Richardson-Lucy needs the true kernel; expected an image that was blurred here"
        raise InputError(message)
    kernel = blur_kernel(plan)
    margin = len(kernel)  # or the dark beyond the edges would come in
    padded = np.pad(degraded, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    planes = [richardson_lucy(padded[..., each], kernel, _ITERATIONS, filter_epsilon=_BLACK) for each in range(3)]
    sharp = np.stack(planes, axis=2)
    return sharp[margin:-margin, margin:-margin].astype(np.float32)


RICHARDSON_LUCY = Classical(
    degradations=("blur",),
    summary=f"scikit-image's Richardson-Lucy deconvolution (Richardson 1972, Lucy 1974), {_ITERATIONS} iterations",
    package="scikit-image",
    restore=_restore,
    told="the true kernel, which no photograph comes with: a hint of what is possible, no rival",
)
