"""Photographs taken in too little light."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, per_image, within
from abair_pl.degradations.random import normal_field

_DISPLAY_GAMMA = 2.2


class RandomLowLight(Degradation):
    """Underexposure with the sensor noise that comes with it, in linear light.

    ``linear = clean ** 2.2 * 2 ** -ev``; shot noise of variance ``shot * linear`` and read noise of standard
    deviation ``read`` are added; ``degraded = linear ** (gamma / 2.2)``, a cast on the channels, and rounding to
    8 bits.

    Args:
        severity: Range of the severity in [0, 1]; it moves exposure and noise together.
        exposure_ev: Stops of underexposure at severity 0 and 1.
        shot: Shot noise, variance per unit of linear light.
        read: Read noise, standard deviation in linear light.
        gamma: Range of the extra tone curve, independent of severity.
        cast: Largest relative deviation of the red and blue channels.
    """

    name: ClassVar[str] = "low_light"
    draws: ClassVar[tuple[str, ...]] = ("noise", "gamma", "red", "blue")

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        exposure_ev: Range = (1.5, 5.0),
        shot: Range = (5e-5, 5e-4),
        read: Range = (1e-4, 1e-3),
        gamma: Range = (1.0, 1.25),
        cast: float = 0.08,
    ) -> None:
        super().__init__(severity)
        self.exposure_ev = exposure_ev
        self.shot = shot
        self.read = read
        self.gamma = gamma
        self.cast = cast

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        strength = severity * draws["noise"]
        return {
            "exposure_ev": within(self.exposure_ev, severity),
            "shot": within(self.shot, strength),
            "read": within(self.read, strength),
            "gamma": within(self.gamma, draws["gamma"]),
            "red": 1.0 + within((-self.cast, self.cast), draws["red"]),
            "blue": 1.0 + within((-self.cast, self.cast), draws["blue"]),
        }

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        linear = image.pow(_DISPLAY_GAMMA) * per_image(parameters["exposure_ev"]).neg().exp2()
        noise = normal_field(parameters["seed"], "low_light/noise", tuple(image.shape[1:]))
        variance = per_image(parameters["shot"]) * linear + per_image(parameters["read"] ** 2)
        sensed = (linear + variance.sqrt() * noise).clamp_min(0.0)
        display = sensed.pow(per_image(parameters["gamma"] / _DISPLAY_GAMMA))
        display[:, 0] *= parameters["red"].view(-1, 1, 1)
        display[:, 2] *= parameters["blue"].view(-1, 1, 1)
        return (display * 255.0).round() / 255.0
