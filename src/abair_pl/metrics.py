"""PSNR and SSIM as the mean of per-image values, on torchmetrics."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.functional.regression import mean_squared_error

PSNR_CAP_DB = 100.0
"""What an identical pair counts as, where the formula says infinity."""

SSIM_WINDOW_PX = 11
"""Side of the Gaussian window of SSIM, whose sigma is 1.5."""


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


def ssim(restored: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004): Gaussian window of 11 pixels and sigma 1.5.

    It is averaged where the window lies inside the image, as in the paper and in scikit-image.

    Args:
        restored: ``(B, C, H, W)``, clamped to [0, 1] here; at least 11 pixels a side.
        target: ``(B, C, H, W)`` in [0, 1].

    Returns:
        ``(B,)`` float64.
    """
    # In float64 its convolution takes ten times as long; float32 shows in the fourth digit, and only on flat images.
    pair = restored.float().clamp(0.0, 1.0), target.float()
    _, similarity = structural_similarity_index_measure(*pair, data_range=1.0, return_full_image=True)
    border = SSIM_WINDOW_PX // 2  # where torchmetrics has mirrored the image
    return similarity[..., border:-border, border:-border].double().mean(dim=(1, 2, 3))


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
