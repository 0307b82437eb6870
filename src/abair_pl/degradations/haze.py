"""Haze and fog."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, limited, per_image, within
from abair_pl.degradations.random import smooth_field

_COLORS = ("red", "green", "blue")


class RandomHaze(Degradation):
    """Scattering by the atmosphere (Koschmieder's law; McCartney 1976).

    ``degraded = J * t + A * (1 - t)`` with ``t = exp(-beta * d)``. The airlight ``A`` is drawn for each sample
    and slightly coloured. The depth ``d`` in [0, 1] is the sample's own where its shard has one, else a procedural
    prior: a ground plane that recedes to a horizon, objects that stand before it, and fractal relief.

    Args:
        severity: Range of the severity in [0, 1].
        beta: Scattering coefficient at severity 0 and 1, per unit of depth.
        airlight: Range of the airlight's brightness, independent of severity.
        tint: Largest deviation of the airlight's red, and of blue the other way, from its brightness: yellow to blue.
    """

    name: ClassVar[str] = "haze"
    stage: ClassVar[Stage] = "scene"
    draws: ClassVar[tuple[str, ...]] = ("airlight", "warmth", "green", "near", "horizon", "objects")
    uses_depth: ClassVar[bool] = True

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        beta: Range = (0.35, 2.4),
        airlight: Range = (0.7, 1.0),
        tint: float = 0.08,
    ) -> None:
        super().__init__(severity)
        self.beta = limited("beta", beta, 0, 20)
        self.airlight = limited("airlight", airlight, 0, 1)
        self.tint = limited("tint", (tint, tint), 0, 1)[0]

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        airlight = within(self.airlight, draws["airlight"])
        warmth = within((-self.tint, self.tint), draws["warmth"])
        green = within((-0.25 * self.tint, 0.25 * self.tint), draws["green"])
        tints = dict(zip(_COLORS, (warmth, green, -warmth), strict=True))
        return {
            "beta": within(self.beta, severity),
            **{f"airlight_{color}": np.clip(airlight + tint, 0.0, 1.0) for color, tint in tints.items()},
            "near": within((0.0, 0.35), draws["near"]),
            "horizon": within((-0.3, 0.5), draws["horizon"]),
            "objects": within((0.3, 0.7), draws["objects"]),
        }

    def procedural_depth(self, parameters: Parameters, size: tuple[int, int]) -> Tensor:
        """The prior, ``(B, 1, H, W)``, from ``near`` (closest) to 1 (farthest).

        Above the horizon, a fraction of the height that may lie outside the image, all is farthest; the ground comes
        nearer with the square of the way down from it. Objects pull the depth towards ``near`` by up to ``objects``.
        """
        seed = parameters["seed"]
        row = torch.linspace(0.0, 1.0, size[0], device=seed.device).view(1, 1, -1, 1)
        horizon = per_image(parameters["horizon"])
        way_down = ((row - horizon) / (1.0 - horizon)).clamp(0.0, 1.0)
        ground = (1.0 - way_down).square()
        relief, shapes = smooth_field(seed, "haze/depth", size, octaves=4, fields=2).split(1, dim=1)
        standing = (12.0 * (shapes - 0.5)).sigmoid_().mul_(per_image(parameters["objects"]))
        far = (0.8 * ground + 0.2 * relief) * (1.0 - standing)
        near = per_image(parameters["near"])
        return torch.lerp(near, torch.ones_like(near), far)

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        depth = self.procedural_depth(parameters, (image.shape[-2], image.shape[-1]))
        if "depth" in parameters:
            depth = torch.where(parameters["depth"].isnan(), depth, parameters["depth"])
        transmission = torch.exp(-per_image(parameters["beta"]) * depth)
        airlight = torch.stack([parameters[f"airlight_{color}"] for color in _COLORS], dim=1)[:, :, None, None]
        return torch.lerp(airlight, image, transmission)
