"""PSNR and SSIM as the mean of per-image values, on torchmetrics."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.functional.regression import mean_squared_error

PSNR_CAP_DB = 100.0
"""What an identical pair counts as, where the formula says infinity."""

_SIGMA_PX = 1.5
_K1, _K2 = 0.01, 0.03
_NEUTRAL = 1e5  # makes a factor of SSIM, (a + k^2) / (b + k^2) with a and b of at most 2, a one


@dataclass(frozen=True)
class SsimWindow:
    """Where SSIM takes its means, variances and covariances.

    Attributes:
        shape: ``gaussian`` has sigma 1.5.
        side_px: An odd number; 11 for a Gaussian, which torchmetrics cuts off at 3.5 sigma.
        covariance: ``population`` divides by the number of pixels N, ``sample`` by N - 1.
    """

    shape: Literal["gaussian", "uniform"]
    side_px: int
    covariance: Literal["population", "sample"]

    @property
    def name(self) -> str:
        """The window in words."""
        sigma = f", sigma {_SIGMA_PX}" if self.shape == "gaussian" else ""
        return f"{self.shape} {self.side_px} px{sigma}, valid, {self.covariance} covariance"

    @property
    def scale(self) -> float:
        """By what variances and covariances are larger than those of the population."""
        pixels = self.side_px**2
        return pixels / (pixels - 1) if self.covariance == "sample" else 1.0


GAUSSIAN_11 = SsimWindow("gaussian", 11, "population")
"""The window of Wang et al. (IEEE TIP 2004)."""

UNIFORM_7 = SsimWindow("uniform", 7, "sample")
"""The window of scikit-image where none is named."""


def psnr(restored: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, over all its channels, capped at 100 dB.

    Args:
        restored: ``(B, C, H, W)``, clamped to [0, 1] here.
        target: ``(B, C, H, W)`` in [0, 1].

    Returns:
        ``(B,)`` float64 in dB.
    """
    found, expected = (image.double().flatten(1).T for image in (restored.clamp(0.0, 1.0), target))
    # The squared error alone: torchmetrics' own PSNR takes a logarithm in float32.
    error = mean_squared_error(found, expected, num_outputs=len(restored)).reshape(-1)
    return (-10.0 * error.log10()).clamp_max(PSNR_CAP_DB)


def ssim(restored: Tensor, target: Tensor, window: SsimWindow = GAUSSIAN_11) -> Tensor:
    """Structural similarity of each image (Wang et al., IEEE TIP 2004), the mean over its channels.

    It is averaged where the window lies inside the image, as in the paper and in scikit-image.

    Args:
        restored: ``(B, C, H, W)``, clamped to [0, 1] here; at least as large as the window.
        target: ``(B, C, H, W)`` in [0, 1].
        window: Where means, variances and covariances are taken.

    Returns:
        ``(B,)`` float64.
    """
    # Float64 takes a CPU thirty times as long. A GPU would convolve float32 in TF32, and autocast in bfloat16: both
    # turn a variance, the difference of nearly equal numbers, into noise.
    precision = torch.float64 if restored.is_cuda else torch.float32
    found, expected = restored.to(precision).clamp(0.0, 1.0), target.to(precision)
    # The factor of variances does not change with the brightness; near 0 float32 keeps more digits of it.
    # In float64, so that the number of threads does not show.
    middle = (found + expected).double().mean(dim=(2, 3), keepdim=True).to(precision) / 2.0
    k2 = _K2 / math.sqrt(window.scale)  # as (2 n cov + C2) / (n var + C2) = (2 cov + C2 / n) / (var + C2 / n)
    with torch.autocast(restored.device.type, enabled=False):
        luminance = _factor(found, expected, window, _K1, _NEUTRAL)
        structure = _factor(found - middle, expected - middle, window, _NEUTRAL, k2)
    return (luminance * structure).double().mean(dim=(1, 2, 3))


def _factor(found: Tensor, expected: Tensor, window: SsimWindow, k1: float, k2: float) -> Tensor:
    """Where the window lies inside the image, the factor of SSIM whose constant is not neutral."""
    _, similarity = structural_similarity_index_measure(
        found,
        expected,
        gaussian_kernel=window.shape == "gaussian",
        sigma=_SIGMA_PX,
        kernel_size=window.side_px,
        data_range=1.0,
        k1=k1,
        k2=k2,
        return_full_image=True,
    )
    border = window.side_px // 2  # where torchmetrics has mirrored the image
    return similarity[..., border:-border, border:-border]


class RestorationMetrics(Metric):
    """PSNR and SSIM, averaged over images and ranks.

    Summed in float64, so that the number of processes does not show in the result.
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, restored: Tensor, target: Tensor) -> None:
        """Add images, ``(B, 3, H, W)``; B may be 0."""
        if len(restored):
            self.total += torch.stack((psnr(restored, target).sum(), ssim(restored, target).sum()))
            self.images += len(restored)

    def compute(self) -> dict[str, Tensor]:
        """``{"psnr": dB, "ssim": value}``; NaN where no image was seen."""
        mean = self.total / self.images
        return {"psnr": mean[0], "ssim": mean[1]}
