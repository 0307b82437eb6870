"""Falling snow."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, between, limited, per_image, within
from abair_pl.degradations.particles import MAX_LENGTH_PX, Layers, draw_particles, slopes, veiled

_LAYERS = ((1.0, 0.04, 0.6, 9), (0.5, 0.3, 0.85, 3), (0.22, 3.0, 1.0, 1))
"""Near to far: size, number and opacity of a layer's flakes relative to the largest, and the side of
the box that softens them, in pixels."""

_MOST_PER_KILOPIXEL = 8.0
_LARGEST_RADIUS_PX = 8.0


class RandomSnow(Degradation):
    """Three layers of flakes, near to far, under a veil of the finest.

    ``degraded = (1 - v) * (J * (1 - a) + b * a) + v * b``: ``a`` is the opacity of the flakes, discs drawn out along
    their way during the exposure and softened by depth of field; ``b`` is their brightness, ``v`` the veil. After
    Snow100K (Liu et al., IEEE TIP 2018): many small flakes, fewer of medium size, and few large blurred ones.

    Args:
        severity: Range of the severity in [0, 1]; it moves number, size and veil together.
        flakes_per_kilopixel: Flakes for each 1000 pixels that the layers have multiples of, at severity 0 and 1, in
            equal ratios between, at most 8.
        radius_px: Radius of the largest near flakes at severity 0 and 1, at most 8.
        length_px: Range of the way of near flakes during the exposure, at most 64, independent of severity.
        opacity: Opacity of the flakes at severity 0 and 1.
        veil: Largest weight of the veil at severity 0 and 1.
        angle_deg: Range of the direction of fall from the vertical, independent of severity.
        brightness: Range of the flakes' brightness, independent of severity.
    """

    name: ClassVar[str] = "snow"
    one_by_one: ClassVar[bool] = False
    stage: ClassVar[Stage] = "scene"
    draws: ClassVar[tuple[str, ...]] = (
        "size",
        "length",
        "angle",
        *(f"spread/{layer}" for layer in range(len(_LAYERS))),
        "brightness",
        "veil",
    )

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        flakes_per_kilopixel: Range = (1.5, 8.0),
        radius_px: Range = (3.0, 8.0),
        length_px: Range = (0.0, 14.0),
        opacity: Range = (0.7, 1.0),
        veil: Range = (0.0, 0.2),
        angle_deg: Range = (-50.0, 50.0),
        brightness: Range = (0.85, 1.0),
    ) -> None:
        super().__init__(severity)
        self.flakes_per_kilopixel = limited("flakes_per_kilopixel", flakes_per_kilopixel, 1e-3, _MOST_PER_KILOPIXEL)
        self.radius_px = limited("radius_px", radius_px, 0, _LARGEST_RADIUS_PX)
        self.length_px = limited("length_px", length_px, 0, MAX_LENGTH_PX)
        self.opacity = limited("opacity", opacity, 0, 1)
        self.veil = limited("veil", veil, 0, 1)
        self.angle_deg = limited("angle_deg", angle_deg, -60, 60)
        self.brightness = limited("brightness", brightness, 0, 1)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        angle = within(self.angle_deg, draws["angle"])
        return {
            "flakes_per_kilopixel": between(self.flakes_per_kilopixel, severity),
            "radius_px": within(self.radius_px, np.float32(0.5) * (severity + draws["size"])),
            "length_px": within(self.length_px, draws["length"] ** 2),
            **slopes(angle, 10.0, draws, len(_LAYERS)),
            "opacity": within(self.opacity, severity),
            "brightness": within(self.brightness, draws["brightness"]),
            "veil": within(self.veil, severity) * draws["veil"],
        }

    def flakes(self, parameters: Parameters, size: tuple[int, int]) -> Tensor:
        """Opacity of the flakes, ``(B, 1, H, W)`` in [0, 1]."""
        clear = torch.ones((), device=parameters["seed"].device)
        for index, (scale, number, strength, softness_px) in enumerate(_LAYERS):
            layer = Layers(
                per_kilopixel=parameters["flakes_per_kilopixel"][:, None] * number,
                radius_px=parameters["radius_px"][:, None] * scale,
                length_px=parameters["length_px"][:, None] * scale,
                slope=parameters[f"slope_{index}"][:, None],
                most_per_kilopixel=_MOST_PER_KILOPIXEL * number,
                largest_radius_px=_LARGEST_RADIUS_PX * scale,
            )
            drawn = draw_particles(parameters["seed"], f"snow/{index}", layer, size)
            for _ in range(2 if softness_px > 1 else 0):  # two boxes make a tent
                drawn = avg_pool2d(drawn, softness_px, 1, softness_px // 2, count_include_pad=False)
            clear = clear * (1.0 - strength * per_image(parameters["opacity"]) * drawn)
        return 1.0 - clear

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        return veiled(image, self.flakes(parameters, (image.shape[-2], image.shape[-1])), parameters)
