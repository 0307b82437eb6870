"""Rain streaks."""

import math
from typing import ClassVar

import numpy as np
import torch
from kornia.filters import filter2d
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, per_image, within
from abair_pl.degradations.kernels import line_profile
from abair_pl.degradations.random import uniform_field

_SIZE_PX = 31
_LAYERS = 2
_MARGIN_PX = _SIZE_PX // 2


class RandomRainStreaks(Degradation):
    """Two layers of motion-blurred streaks, far and near, blended over the image, under a thin veil.

    ``degraded = (1 - v) * (J * (1 - a) + b * a) + v * b``: ``a`` is the opacity of the streaks (random drops drawn out
    along the direction of fall), ``b`` their brightness, ``v`` the veil of drops too far away to be seen
    singly. After the rain models of Rain100L and Rain100H (Yang et al., CVPR 2017).

    Args:
        severity: Range of the severity in [0, 1]; it moves density, length and opacity together.
        drops_per_kilopixel: Drops of one layer for each 1000 pixels.
        length_px: Length of the near streaks; far ones have 0.6 of it.
        opacity: Opacity of the brightest streaks.
        veil: Weight of the veil.
        angle_deg: Range of the direction of fall from the vertical, independent of severity.
        brightness: Range of the streaks' brightness, independent of severity.
    """

    name: ClassVar[str] = "rain"
    draws: ClassVar[tuple[str, ...]] = ("length", "angle", "spread", "width", "brightness", "veil")

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        drops_per_kilopixel: Range = (1.0, 12.0),
        length_px: Range = (9.0, 29.0),
        opacity: Range = (0.35, 0.9),
        veil: Range = (0.0, 0.12),
        angle_deg: Range = (-35.0, 35.0),
        brightness: Range = (0.75, 1.0),
    ) -> None:
        super().__init__(severity)
        self.drops_per_kilopixel = drops_per_kilopixel
        self.length_px = length_px
        self.opacity = opacity
        self.veil = veil
        self.angle_deg = angle_deg
        self.brightness = brightness

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {
            "density": within(self.drops_per_kilopixel, severity) / 1000.0,
            "length_px": within(self.length_px, np.float32(0.5) * (severity + draws["length"])),
            "angle_rad": within(self.angle_deg, draws["angle"]) * (math.pi / 180),
            "spread_rad": within((-0.1, 0.1), draws["spread"]),
            "width_px": within((0.5, 1.1), draws["width"]),
            "opacity": within(self.opacity, severity),
            "brightness": within(self.brightness, draws["brightness"]),
            "veil": within(self.veil, severity * draws["veil"]),
        }

    def streaks(self, parameters: Parameters, size: tuple[int, int]) -> Tensor:
        """Opacity of the streaks, ``(B, 1, H, W)`` in [0, 1]."""
        height, width = size
        batch = len(parameters["seed"])
        padded = (_LAYERS, height + 2 * _MARGIN_PX, width + 2 * _MARGIN_PX)
        field = uniform_field(parameters["seed"], "rain/drops", padded)
        density = per_image(parameters["density"])
        drops = torch.where(field < density, 0.4 + 0.6 * field / density, 0.0)

        def layered(values: Tensor, far: float, near: float) -> Tensor:
            return (values[:, None] * values.new_tensor([far, near])).flatten()

        tilt = parameters["angle_rad"][:, None] + parameters["spread_rad"][:, None] * field.new_tensor([-1.0, 1.0])
        kernel = line_profile(
            layered(parameters["length_px"], 0.6, 1.0),
            layered(parameters["width_px"], 0.7, 1.0),
            tilt.flatten(),
            _SIZE_PX,
        )
        drawn = filter2d(drops.view(batch * _LAYERS, 1, *padded[1:]), kernel, padding="valid")
        far, near = drawn.clamp(0.0, 1.0).view(batch, _LAYERS, height, width).unbind(1)
        opacity = parameters["opacity"].view(-1, 1, 1)
        return (1.0 - (1.0 - 0.6 * opacity * far) * (1.0 - opacity * near))[:, None]

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        opacity = self.streaks(parameters, (image.shape[-2], image.shape[-1]))
        brightness, veil = per_image(parameters["brightness"]), per_image(parameters["veil"])
        return (1.0 - veil) * torch.lerp(image, brightness, opacity) + veil * brightness
