"""Blur by camera shake, motion, defocus and optics."""

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, limited, within
from abair_pl.degradations.kernels import (
    convolve,
    disc_profile,
    gaussian_profile,
    line_profile,
    path_profile,
    unit_sum,
)
from abair_pl.degradations.random import normal_field

KERNEL_PX = 33
_PATH_POINTS = 64
_SPLATS = 4 * (_PATH_POINTS - 1) + 1


class Blur(Degradation):
    """Base of the kinds of blur: ``degraded = clean * k`` with a kernel of sum 1, edges replicated.

    Args:
        severity: Range of the severity in [0, 1].
    """

    name: ClassVar[str] = "blur"
    stage: ClassVar[Stage] = "optics"

    @abstractmethod
    def profile(self, parameters: Parameters) -> Tensor:
        """The kernels of these parameters up to their sum, ``(B, 33, 33)``."""

    def kernel(self, parameters: Parameters) -> Tensor:
        """The kernels of these parameters, ``(B, 33, 33)``, each of sum 1."""
        return unit_sum(self.profile(parameters))

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        return convolve(image, self.kernel(parameters))


class RandomCameraShake(Blur):
    """The path of a hand-held camera during the exposure (Boracchi & Foi, IEEE TIP 2012).

    A velocity that keeps its direction by inertia, is bent by Gaussian jolts, and is integrated twice: Brownian where
    inertia is small, a smooth arc where it is large. The path is scaled so that its longer extent is ``extent_px``.

    Args:
        severity: Range of the severity in [0, 1].
        extent_px: Extent of the path at severity 0 and 1, at most 30.
        inertia: Range of the share of its velocity that the camera keeps from one of 64 moments to the next,
            independent of severity.
    """

    kind: ClassVar[str] = "shake"
    draws: ClassVar[tuple[str, ...]] = ("inertia",)

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        extent_px: Range = (4.0, 28.0),
        inertia: Range = (0.6, 0.97),
    ) -> None:
        super().__init__(severity)
        self.extent_px = limited("extent_px", extent_px, 0, 30)
        self.inertia = limited("inertia", inertia, 0, 0.999)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {"extent_px": within(self.extent_px, severity), "inertia": within(self.inertia, draws["inertia"])}

    def path(self, parameters: Parameters) -> Tensor:
        """Where the camera points at each moment, ``(B, 64, 2)`` in pixels, centred."""
        jolts = normal_field(parameters["seed"], "blur/path", (_PATH_POINTS, 2))
        inertia = parameters["inertia"][:, None]
        moment = torch.arange(_PATH_POINTS, device=inertia.device)
        elapsed = moment[:, None] - moment
        kept = torch.where(elapsed >= 0, inertia[..., None] ** elapsed.clamp_min(0), 0.0)  # of a jolt, after a while
        path = (kept @ jolts).cumsum(dim=1)
        low, high = path.amin(dim=1, keepdim=True), path.amax(dim=1, keepdim=True)
        extent = (high - low).amax(dim=2, keepdim=True)
        return (path - (low + high) / 2) * (parameters["extent_px"][:, None, None] / extent)

    def profile(self, parameters: Parameters) -> Tensor:
        moments = self.path(parameters).transpose(1, 2)
        between = interpolate(moments, size=_SPLATS, mode="linear", align_corners=True)  # or long paths would be dotted
        return path_profile(between.transpose(1, 2), KERNEL_PX)


class RandomMotionBlur(Blur):
    """Uniform motion along a straight line.

    Args:
        severity: Range of the severity in [0, 1].
        length_px: Length of the line at severity 0 and 1, at most 30.
    """

    kind: ClassVar[str] = "motion"
    draws: ClassVar[tuple[str, ...]] = ("angle",)

    def __init__(self, severity: Range = (0.0, 1.0), length_px: Range = (4.0, 24.0)) -> None:
        super().__init__(severity)
        self.length_px = limited("length_px", length_px, 0, 30)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {
            "length_px": within(self.length_px, severity),
            "angle_rad": within((-math.pi / 2, math.pi / 2), draws["angle"]),
        }

    def profile(self, parameters: Parameters) -> Tensor:
        angle = parameters["angle_rad"]
        return line_profile(parameters["length_px"], torch.full_like(angle, 0.6), angle, KERNEL_PX)


class RandomDefocus(Blur):
    """A lens out of focus: every point becomes a disc.

    Args:
        severity: Range of the severity in [0, 1].
        radius_px: Radius of the disc at severity 0 and 1, at most 15.
    """

    kind: ClassVar[str] = "defocus"

    def __init__(self, severity: Range = (0.0, 1.0), radius_px: Range = (1.2, 6.0)) -> None:
        super().__init__(severity)
        self.radius_px = limited("radius_px", radius_px, 0, 15)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {"radius_px": within(self.radius_px, severity)}

    def profile(self, parameters: Parameters) -> Tensor:
        return disc_profile(parameters["radius_px"], KERNEL_PX)


class RandomGaussianBlur(Blur):
    """An anisotropic Gaussian, for optics and resampling.

    Args:
        severity: Range of the severity in [0, 1].
        sigma_px: Standard deviation along the long axis at severity 0 and 1, at most 8.
        ratio: Range of short over long axis, independent of severity.
    """

    kind: ClassVar[str] = "gaussian"
    draws: ClassVar[tuple[str, ...]] = ("angle", "ratio")

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        sigma_px: Range = (1.0, 4.5),
        ratio: Range = (0.4, 1.0),
    ) -> None:
        super().__init__(severity)
        self.sigma_px = limited("sigma_px", sigma_px, 0, 8)
        self.ratio = limited("ratio", ratio, 0.05, 1)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {
            "sigma_px": within(self.sigma_px, severity),
            "ratio": within(self.ratio, draws["ratio"]),
            "angle_rad": within((-math.pi / 2, math.pi / 2), draws["angle"]),
        }

    def profile(self, parameters: Parameters) -> Tensor:
        return gaussian_profile(parameters["sigma_px"], parameters["ratio"], parameters["angle_rad"], KERNEL_PX)
