"""Haze and fog."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, per_image, within
from abair_pl.degradations.random import smooth_field


class RandomHaze(Degradation):
    """Scattering by the atmosphere (Koschmieder's law; McCartney 1976).

    ``degraded = J * t + A * (1 - t)`` with ``t = exp(-beta * d)``. The airlight ``A`` is drawn for each sample
    and slightly coloured. The depth ``d`` in [0, 1] is a procedural prior: a ground plane that recedes towards
    the top of the image, and fractal noise for what stands on it.

    Args:
        severity: Range of the severity in [0, 1].
        beta: Scattering coefficient at severity 0 and 1, per unit of depth.
        airlight: Range of the airlight's brightness, independent of severity.
        tint: Largest deviation of a channel of the airlight from its brightness.
    """

    name: ClassVar[str] = "haze"
    draws: ClassVar[tuple[str, ...]] = ("airlight", "red", "green", "blue", "near", "plane")

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        beta: Range = (0.5, 2.4),
        airlight: Range = (0.7, 1.0),
        tint: float = 0.03,
    ) -> None:
        super().__init__(severity)
        self.beta = beta
        self.airlight = airlight
        self.tint = tint

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        airlight = within(self.airlight, draws["airlight"])
        tints = {color: within((-self.tint, self.tint), draws[color]) for color in ("red", "green", "blue")}
        return {
            "beta": within(self.beta, severity),
            **{f"airlight_{color}": np.clip(airlight + tint, 0.0, 1.0) for color, tint in tints.items()},
            "near": within((0.3, 0.6), draws["near"]),
            "plane": within((0.2, 0.8), draws["plane"]),
        }

    def depth(self, parameters: Parameters, size: tuple[int, int]) -> Tensor:
        """The procedural depth, ``(B, 1, H, W)``, from ``near`` (closest) to 1 (farthest)."""
        ground = torch.linspace(1.0, 0.0, size[0], device=parameters["seed"].device).view(1, 1, -1, 1)
        objects = smooth_field(parameters["seed"], "haze/depth", size)
        relief = torch.lerp(objects, ground, per_image(parameters["plane"]))
        near = per_image(parameters["near"])
        return near + (1.0 - near) * relief

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        depth = self.depth(parameters, (image.shape[-2], image.shape[-1]))
        transmission = torch.exp(-per_image(parameters["beta"]) * depth)
        channels = [parameters[f"airlight_{color}"] for color in ("red", "green", "blue")]
        airlight = torch.stack(channels, dim=1)[:, :, None, None]
        return torch.lerp(airlight, image, transmission)
