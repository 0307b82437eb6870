"""Sensor noise."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, per_image, within
from abair_pl.degradations.random import normal_field


class RandomNoise(Degradation):
    """Additive white Gaussian noise, independent for each pixel and channel.

    ``degraded = clean + sigma / 255 * n``, ``n ~ N(0, 1)``, clamped to [0, 1]: the denoising task of the
    paper's Table 1 and 2 (sigma 15, 25, 50).

    Args:
        severity: Range of the severity in [0, 1].
        sigma_8bit: Standard deviation at severity 0 and 1, in units of 1/255.
    """

    name: ClassVar[str] = "noise"

    def __init__(self, severity: Range = (0.0, 1.0), sigma_8bit: Range = (5.0, 55.0)) -> None:
        super().__init__(severity)
        self.sigma_8bit = sigma_8bit

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {"sigma_8bit": within(self.sigma_8bit, severity)}

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        noise = normal_field(parameters["seed"], "noise/field", tuple(image.shape[1:]))
        return image + per_image(parameters["sigma_8bit"] / 255.0) * noise
