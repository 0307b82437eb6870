"""What a method may be told of the degradation of an image."""

import numpy as np
from numpy.typing import NDArray

from abair_pl.degradations import Plan
from abair_pl.degradations.blur import Blur


def noise_sigma(plan: Plan) -> float:
    """The standard deviation of the noise of a single noisy image, with 1 for white."""
    (step,) = plan.steps
    return step.parameters["sigma_8bit"].item() / 255.0


def blur_kernel(plan: Plan) -> NDArray[np.float32]:
    """The kernel of a single blurred image, ``(33, 33)`` of sum 1.

    Raises:
        TypeError: It was not blurred by a kernel.
    """
    (step,) = plan.steps
    if not isinstance(step.operator, Blur):
        message = f"the operator is {type(step.operator).__name__}; expected a kind of blur"
        raise TypeError(message)
    return step.operator.kernel(step.parameters)[0].numpy()
