"""Sensor noise: white, signal-dependent, correlated, and uneven over the channels."""

import math
from abc import abstractmethod
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, limited, per_image, within
from abair_pl.degradations.random import normal_field
from abair_pl.degradations.tone import GAMMA, to_display, to_linear

_MID_GREY = 0.5


class Noise(Degradation):
    """Base of the kinds of noise; ``sigma_8bit`` is the standard deviation that each has at mid-grey.

    Args:
        severity: Range of the severity in [0, 1].
        sigma_8bit: Standard deviation at severity 0 and 1, in units of 1/255.
    """

    name: ClassVar[str] = "noise"
    stage: ClassVar[Stage] = "sensor"

    def __init__(self, severity: Range = (0.0, 1.0), sigma_8bit: Range = (5.0, 55.0)) -> None:
        super().__init__(severity)
        self.sigma_8bit = limited("sigma_8bit", sigma_8bit, 0, 255)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {"sigma_8bit": within(self.sigma_8bit, severity)}

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        white = normal_field(parameters["seed"], "noise/field", tuple(image.shape[1:]))
        return self.add(image, white, per_image(parameters["sigma_8bit"] / 255.0), parameters)

    @abstractmethod
    def add(self, image: Tensor, white: Tensor, sigma: Tensor, parameters: Parameters) -> Tensor:
        """Add noise made of white noise.

        Args:
            image: ``(B, 3, H, W)``.
            white: Standard normal numbers of the same shape.
            sigma: ``(B, 1, 1, 1)`` standard deviation at mid-grey.
            parameters: All parameters.
        """


class RandomGaussianNoise(Noise):
    """Additive white Gaussian noise, independent for each pixel and channel.

    ``degraded = clean + sigma / 255 * n``, ``n ~ N(0, 1)``, clamped to [0, 1]: the denoising task of the
    paper's Table 1 and 2 (sigma 15, 25, 50).

    Args:
        severity: Range of the severity in [0, 1].
        sigma_8bit: Standard deviation at severity 0 and 1, in units of 1/255.
    """

    kind: ClassVar[str] = "gaussian"

    def add(self, image: Tensor, white: Tensor, sigma: Tensor, parameters: Parameters) -> Tensor:
        return white.mul_(sigma).add_(image)


class RandomPoissonGaussianNoise(Noise):
    """Shot and read noise in linear light, as a sensor has them (Foi et al., IEEE TIP 2008).

    ``linear' = linear + sqrt(shot * linear + read ** 2) * n``, then back to display values. ``shot`` and ``read``
    follow from ``sigma_8bit``, the standard deviation of a mid-grey pixel in the result, and from the share of its
    variance that is shot noise. The tone curve is steep in the dark, so that strong noise also darkens a little.

    Args:
        severity: Range of the severity in [0, 1].
        sigma_8bit: Standard deviation at mid-grey at severity 0 and 1, in units of 1/255.
        shot_share: Range of the share of shot noise, within [0, 1], independent of severity.
    """

    kind: ClassVar[str] = "poisson_gaussian"
    draws: ClassVar[tuple[str, ...]] = ("shot",)

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        sigma_8bit: Range = (5.0, 55.0),
        shot_share: Range = (0.5, 0.98),
    ) -> None:
        super().__init__(severity, sigma_8bit)
        self.shot_share = limited("shot_share", shot_share, 0, 1)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        shown = super().physical(severity, draws)
        linear, display = _mid_grey_deviations()
        return {
            **shown,
            "sigma_linear": np.interp(shown["sigma_8bit"] / 255.0, display, linear).astype(np.float32),
            "shot_share": within(self.shot_share, draws["shot"]),
        }

    def add(self, image: Tensor, white: Tensor, sigma: Tensor, parameters: Parameters) -> Tensor:
        variance = per_image(parameters["sigma_linear"].square())
        share = per_image(parameters["shot_share"])
        linear = to_linear(image)
        spread = torch.addcmul((1.0 - share) * variance, linear, share * variance / _MID_GREY**GAMMA).sqrt_()
        return to_display(torch.addcmul(linear, spread, white).clamp_min_(0.0))


@lru_cache(maxsize=1)
def _mid_grey_deviations() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviations of a mid-grey pixel under Gaussian noise: in linear light, and what the curve makes of it."""
    linear = np.concatenate([[0.0], np.geomspace(1e-4, 10.0, 400)])
    deviates = np.linspace(-5.0, 5.0, 2001)
    weight = np.exp(-0.5 * deviates**2)
    shown = np.maximum(_MID_GREY**GAMMA + linear[:, None] * deviates, 0.0) ** (1.0 / GAMMA)
    mean = np.average(shown, axis=1, weights=weight)
    return linear, np.sqrt(np.average((shown - mean[:, None]) ** 2, axis=1, weights=weight))


class RandomCorrelatedNoise(Noise):
    """Gaussian noise whose neighbouring pixels are alike, as demosaicing and in-camera scaling leave it.

    White noise under a Gaussian filter of unit energy, so that its standard deviation stays ``sigma_8bit``; it goes on
    around the edges.

    Args:
        severity: Range of the severity in [0, 1].
        sigma_8bit: Standard deviation at severity 0 and 1, in units of 1/255.
        grain_px: Range of the filter's standard deviation, at most 4, independent of severity.
    """

    kind: ClassVar[str] = "correlated"
    draws: ClassVar[tuple[str, ...]] = ("grain",)

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        sigma_8bit: Range = (5.0, 55.0),
        grain_px: Range = (0.5, 1.5),
    ) -> None:
        super().__init__(severity, sigma_8bit)
        self.grain_px = limited("grain_px", grain_px, 0, 4)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {**super().physical(severity, draws), "grain_px": within(self.grain_px, draws["grain"])}

    def add(self, image: Tensor, white: Tensor, sigma: Tensor, parameters: Parameters) -> Tensor:
        return image + sigma * _grained(white, parameters["grain_px"])


def _grained(white: Tensor, grain_px: Tensor) -> Tensor:
    """White noise under a Gaussian filter that keeps its variance, by the filter's transfer function.

    Args:
        white: ``(B, C, H, W)``.
        grain_px: ``(B,)`` standard deviation of the filter.
    """
    height, width = white.shape[2:]
    down = torch.fft.fftfreq(height, device=white.device)[:, None]
    across = torch.fft.rfftfreq(width, device=white.device)
    transfer = torch.exp(-2.0 * (math.pi * per_image(grain_px)) ** 2 * (down.square() + across.square()))
    twice = torch.where((across == 0) | (across == 0.5), 1.0, 2.0)  # columns that stand for two of the full transform
    energy = (transfer.square() * twice).sum(dim=(2, 3), keepdim=True) / (height * width)
    return torch.fft.irfft2(torch.fft.rfft2(white).mul_(transfer / energy.sqrt()), s=(height, width))


class RandomChannelNoise(Noise):
    """Gaussian noise of different strength in each channel, part of it common to all three.

    Args:
        severity: Range of the severity in [0, 1].
        sigma_8bit: Root mean square of the three standard deviations at severity 0 and 1, in units of 1/255.
        common: Range of the share of the variance that all channels have in common, independent of severity.
    """

    kind: ClassVar[str] = "channel"
    draws: ClassVar[tuple[str, ...]] = ("red", "green", "blue", "common")

    def __init__(
        self,
        severity: Range = (0.0, 1.0),
        sigma_8bit: Range = (5.0, 55.0),
        common: Range = (0.0, 0.9),
    ) -> None:
        super().__init__(severity, sigma_8bit)
        self.common = limited("common", common, 0, 1)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        gains = np.stack([within((0.4, 1.6), draws[color]) for color in ("red", "green", "blue")])
        red, green, blue = gains / np.sqrt((gains**2).mean(axis=0))
        return {
            **super().physical(severity, draws),
            "red": red,
            "green": green,
            "blue": blue,
            "common": within(self.common, draws["common"]),
        }

    def add(self, image: Tensor, white: Tensor, sigma: Tensor, parameters: Parameters) -> Tensor:
        common = per_image(parameters["common"])
        shared = normal_field(parameters["seed"], "noise/common", (1, *image.shape[2:]))
        mixed = (1.0 - common).sqrt() * white + common.sqrt() * shared
        gains = torch.stack([parameters[color] for color in ("red", "green", "blue")], dim=1)
        return image + sigma * gains[:, :, None, None] * mixed
