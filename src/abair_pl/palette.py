"""One colour for each label, in the panels of a training run and in figures."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

LABEL_COLORS = np.array(
    [
        (235, 235, 235),
        (66, 135, 245),
        (158, 158, 158),
        (233, 116, 81),
        (130, 190, 90),
        (60, 50, 110),
        (120, 220, 230),
        (240, 200, 60),
        (200, 110, 200),
    ],
    dtype=np.uint8,
)
"""In the order of the labels: clean, rain, haze, noise, blur, low_light, and further ones in turn."""


def paint_labels(labels: Tensor) -> NDArray[np.uint8]:
    """A label map in colours.

    Args:
        labels: ``(H, W)`` integer.

    Returns:
        ``(H, W, 3)`` 8-bit RGB.
    """
    return LABEL_COLORS[labels.cpu().numpy() % len(LABEL_COLORS)]
