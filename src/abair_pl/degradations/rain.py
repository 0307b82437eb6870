"""Rain streaks."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, between, limited, within
from abair_pl.degradations.particles import MAX_LENGTH_PX, Layers, draw_particles, slopes, veiled
from abair_pl.degradations.transfer import constant

_LAYERS = ((1.0, 0.6, 1.0), (0.7, 1.0, 0.75), (0.45, 1.4, 0.5))
"""Near to far: size, number and opacity of a layer's streaks relative to the nearest, or to the mean number."""

_MOST_PER_KILOPIXEL = 20.0
_LARGEST_RADIUS_PX = 1.5


class RandomRainStreaks(Degradation):
    """Three layers of streaks, near to far, under a thin veil.

    ``degraded = (1 - v) * (J * (1 - a) + b * a) + v * b``: ``a`` is the opacity of the streaks of all layers together,
    drops drawn out along their way during the exposure; ``b`` is their brightness and ``v`` the veil of drops too far
    away to be seen singly. Far layers have more, shorter, thinner and fainter streaks; each layer falls in a direction
    of its own. After the rain models of Garg & Nayar (IJCV 2007) and of Rain100L and Rain100H (Yang et al., CVPR 2017),
    whose looks are those of severity 0.3 and 0.9.

    Args:
        severity: Range of the severity in [0, 1]; it moves number, length, opacity, spread and veil together.
        drops_per_kilopixel: Mean number of streaks of a layer for each 1000 pixels at severity 0 and 1, in equal ratios
            between, at most 20.
        length_px: Length of the longest near streaks at severity 0 and 1, at most 64.
        opacity: Opacity of the nearest streaks at severity 0 and 1.
        spread_deg: Largest deviation of a layer's direction from the sample's at severity 0 and 1.
        veil: Largest weight of the veil at severity 0 and 1.
        radius_px: Range of half the width of the nearest streaks, at most 1.5, independent of severity.
        angle_deg: Range of the direction of fall from the vertical, independent of severity.
        brightness: Range of the streaks' brightness, independent of severity.
    """

    name: ClassVar[str] = "rain"
    stage: ClassVar[Stage] = "scene"
    draws: ClassVar[tuple[str, ...]] = (
        "length",
        "radius",
        "angle",
        *(f"spread/{layer}" for layer in range(len(_LAYERS))),
        "brightness",
        "veil",
    )

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        drops_per_kilopixel: Range = (0.8, 15.5),
        length_px: Range = (12.0, 64.0),
        opacity: Range = (0.55, 0.95),
        spread_deg: Range = (0.0, 8.0),
        veil: Range = (0.0, 0.12),
        radius_px: Range = (0.6, 1.3),
        angle_deg: Range = (-35.0, 35.0),
        brightness: Range = (0.9, 1.0),
    ) -> None:
        super().__init__(severity)
        self.drops_per_kilopixel = limited("drops_per_kilopixel", drops_per_kilopixel, 1e-3, _MOST_PER_KILOPIXEL)
        self.length_px = limited("length_px", length_px, 0, MAX_LENGTH_PX)
        self.opacity = limited("opacity", opacity, 0, 1)
        self.spread_deg = limited("spread_deg", spread_deg, 0, 30)
        self.veil = limited("veil", veil, 0, 1)
        self.radius_px = limited("radius_px", radius_px, 0, _LARGEST_RADIUS_PX)
        self.angle_deg = limited("angle_deg", angle_deg, -50, 50)
        self.brightness = limited("brightness", brightness, 0, 1)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        angle = within(self.angle_deg, draws["angle"])
        spread = within(self.spread_deg, severity)
        return {
            "drops_per_kilopixel": between(self.drops_per_kilopixel, severity),
            "length_px": within(self.length_px, np.float32(0.5) * (severity + draws["length"])),
            "radius_px": within(self.radius_px, draws["radius"]),
            **slopes(angle, spread, draws, len(_LAYERS)),
            "opacity": within(self.opacity, severity),
            "brightness": within(self.brightness, draws["brightness"]),
            "veil": within(self.veil, severity) * draws["veil"],
        }

    def streaks(self, parameters: Parameters, size: tuple[int, int]) -> Tensor:
        """Opacity of the streaks, ``(B, 1, H, W)`` in [0, 1]."""
        scale, number, strength = constant(_LAYERS, parameters["opacity"].device).unbind(dim=1)
        layers = Layers(
            per_kilopixel=parameters["drops_per_kilopixel"][:, None] * number,
            radius_px=parameters["radius_px"][:, None] * scale,
            length_px=parameters["length_px"][:, None] * scale,
            slope=torch.stack([parameters[f"slope_{layer}"] for layer in range(len(_LAYERS))], dim=1),
            most_per_kilopixel=_MOST_PER_KILOPIXEL * max(number for _, number, _ in _LAYERS),
            largest_radius_px=_LARGEST_RADIUS_PX,
        )
        drawn = draw_particles(parameters["seed"], "rain/drops", layers, size)
        near, middle, far = (
            drawn.mul_((parameters["opacity"][:, None] * -strength)[:, :, None, None]).add_(1.0).unbind(1)
        )
        return (1.0 - near * middle * far)[:, None].contiguous()

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        return veiled(image, self.streaks(parameters, (image.shape[-2], image.shape[-1])), parameters)
