"""Photographs taken in too little light."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, limited, per_image, within
from abair_pl.degradations.random import normal_field, smooth_field
from abair_pl.degradations.tone import to_display, to_linear


class RandomLowLight(Degradation):
    """Underexposure with the sensor noise that comes with it, in linear light.

    ``linear = clean_linear * 2 ** (-ev * m)``, where the map ``m`` of mean 1 leaves parts of the scene better lit than
    others; shot noise of variance ``shot * linear`` and read noise of standard deviation ``read`` are added; back to
    display values with an extra ``gamma``, a cast on the channels, and rounding to 8 bits.

    Args:
        severity: Range of the severity in [0, 1]; it moves exposure and noise together.
        exposure_ev: Stops of underexposure at severity 0 and 1.
        shot: Shot noise, variance per unit of linear light.
        read: Read noise, standard deviation in linear light.
        gamma: Range of the extra tone curve, independent of severity.
        unevenness: Range of the map's largest deviation from 1, independent of severity.
        cast: Largest relative deviation of the red and blue channels.
    """

    name: ClassVar[str] = "low_light"
    stage: ClassVar[Stage] = "sensor"
    draws: ClassVar[tuple[str, ...]] = ("noise", "gamma", "unevenness", "red", "blue")

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        exposure_ev: Range = (1.5, 5.0),
        shot: Range = (5e-5, 5e-4),
        read: Range = (1e-4, 1e-3),
        gamma: Range = (1.0, 1.3),
        unevenness: Range = (0.0, 0.8),
        cast: float = 0.08,
    ) -> None:
        super().__init__(severity)
        self.exposure_ev = limited("exposure_ev", exposure_ev, 0, 12)
        self.shot = limited("shot", shot, 0, 1)
        self.read = limited("read", read, 0, 1)
        self.gamma = limited("gamma", gamma, 0.2, 5)
        self.unevenness = limited("unevenness", unevenness, 0, 1)
        self.cast = limited("cast", (cast, cast), 0, 1)[0]

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        strength = severity * draws["noise"]
        return {
            "exposure_ev": within(self.exposure_ev, severity),
            "shot": within(self.shot, strength),
            "read": within(self.read, strength),
            "gamma": within(self.gamma, draws["gamma"]),
            "unevenness": within(self.unevenness, draws["unevenness"]),
            "red": 1.0 + within((-self.cast, self.cast), draws["red"]),
            "blue": 1.0 + within((-self.cast, self.cast), draws["blue"]),
        }

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        lit = smooth_field(parameters["seed"], "low_light/map", (image.shape[-2], image.shape[-1]), octaves=2)
        stops = per_image(parameters["exposure_ev"]) * (1.0 + per_image(parameters["unevenness"]) * (2.0 * lit - 1.0))
        linear = to_linear(image).mul_(stops.neg_().exp2_())
        spread = linear * per_image(parameters["shot"])
        spread = spread.add_(per_image(parameters["read"] ** 2)).sqrt_()
        noise = normal_field(parameters["seed"], "low_light/noise", tuple(image.shape[1:]))
        display = to_display(linear.addcmul_(spread, noise).clamp_min_(0.0), per_image(parameters["gamma"]))
        display[:, 0] *= parameters["red"].view(-1, 1, 1)
        display[:, 2] *= parameters["blue"].view(-1, 1, 1)
        return display.mul_(255.0).round_().mul_(1.0 / 255.0)
