"""Blur by motion, defocus and optics."""

import math
from typing import ClassVar

import numpy as np
from kornia.filters import filter2d
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, choose, within
from abair_pl.degradations.kernels import disc_profile, gaussian_profile, line_profile, unit_sum

_SIZE_PX = 21
_MOTION, _DEFOCUS, _GAUSSIAN = 0.0, 1.0, 2.0


class RandomBlur(Degradation):
    """Spatially uniform blur; each sample is of one family: linear motion, defocus or anisotropic Gaussian.

    ``degraded = clean * k`` with a kernel ``k`` of sum 1 and at most 21 x 21 pixels; edges are replicated.

    Args:
        severity: Range of the severity in [0, 1].
        motion_px: Length of the motion at severity 0 and 1.
        radius_px: Radius of the defocus disc at severity 0 and 1.
        sigma_px: Standard deviation of the Gaussian's long axis at severity 0 and 1.
    """

    name: ClassVar[str] = "blur"
    draws: ClassVar[tuple[str, ...]] = ("family", "angle", "ratio")

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        motion_px: Range = (5.0, 19.0),
        radius_px: Range = (1.5, 4.5),
        sigma_px: Range = (1.2, 3.5),
    ) -> None:
        super().__init__(severity)
        self.motion_px = motion_px
        self.radius_px = radius_px
        self.sigma_px = sigma_px

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {
            "family": choose(draws["family"], (_MOTION, _DEFOCUS, _GAUSSIAN)),
            "angle_rad": within((-math.pi / 2, math.pi / 2), draws["angle"]),
            "ratio": within((0.4, 1.0), draws["ratio"]),
            "motion_px": within(self.motion_px, severity),
            "radius_px": within(self.radius_px, severity),
            "sigma_px": within(self.sigma_px, severity),
        }

    def kernel(self, parameters: Parameters) -> Tensor:
        """The kernels of these parameters, ``(B, 21, 21)``, each of sum 1."""
        family = parameters["family"].view(-1, 1, 1)
        angle = parameters["angle_rad"]
        width = angle.new_full(angle.shape, 0.6)
        motion = line_profile(parameters["motion_px"], width, angle, _SIZE_PX)
        defocus = disc_profile(parameters["radius_px"], _SIZE_PX)
        gaussian = gaussian_profile(parameters["sigma_px"], parameters["ratio"], angle, _SIZE_PX)
        return unit_sum(motion.where(family == _MOTION, defocus.where(family == _DEFOCUS, gaussian)))

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        return filter2d(image, self.kernel(parameters), border_type="replicate")
