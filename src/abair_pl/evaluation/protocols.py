"""How images are compared: named, and written into every result."""

from dataclasses import dataclass

import torch
from torch import Tensor

from abair_pl.errors import ImageError, unknown_name
from abair_pl.metrics import SSIM_WINDOW_PX, psnr, ssim

# ITU-R BT.601 luma in studio range, as MATLAB's rgb2ycbcr computes it.
_LUMA = (65.481 / 255.0, 128.553 / 255.0, 24.966 / 255.0)
_LUMA_OFFSET = 16.0 / 255.0


@dataclass(frozen=True)
class Protocol:
    """A way to compare images.

    Both images are clamped to [0, 1] and rounded to 8 bits; no border is cropped, but SSIM is averaged only where its
    window lies inside the image; PSNR and SSIM are taken for each image and then averaged.

    Attributes:
        name: ``rgb`` or ``y``.
        channel: What is compared.
        ssim_window: The window of SSIM.
        version: Raised whenever the same images would give other numbers.
    """

    name: str
    channel: str
    ssim_window: str = f"gaussian {SSIM_WINDOW_PX} px, sigma 1.5, valid"
    rounding: str = "8 bit"
    border_px: int = 0
    average: str = "mean of per-image values"
    version: int = 1

    def measure(self, restored: Tensor, target: Tensor) -> tuple[float, float]:
        """PSNR in dB and SSIM of one pair.

        Args:
            restored: ``(3, H, W)`` RGB, clamped here.
            target: ``(3, H, W)`` RGB in [0, 1].

        Raises:
            ImageError: The sizes differ, or a side is shorter than the window of SSIM.
        """
        if restored.shape != target.shape:
            message = f"sizes are {tuple(restored.shape[1:])} and {tuple(target.shape[1:])}; expected the same"
            raise ImageError(message)
        if min(target.shape[1:]) < SSIM_WINDOW_PX:
            message = f"image of {target.shape[2]} x {target.shape[1]} pixels; SSIM needs {SSIM_WINDOW_PX} a side"
            raise ImageError(message)
        pair = [self._prepare(image)[None] for image in (restored, target)]
        return psnr(*pair).item(), ssim(*pair).item()

    def _prepare(self, image: Tensor) -> Tensor:
        rounded = (image.double().clamp(0.0, 1.0) * 255.0).round() / 255.0
        return luma(rounded) if self.channel == "BT.601 luma" else rounded


PROTOCOLS = {
    "rgb": Protocol("rgb", "RGB"),
    "y": Protocol("y", "BT.601 luma"),
}


def named_protocol(name: str) -> Protocol:
    """A protocol by name.

    Raises:
        InputError: There is none of this name.
    """
    if name not in PROTOCOLS:
        raise unknown_name(name, "protocol", PROTOCOLS)
    return PROTOCOLS[name]


def luma(image: Tensor) -> Tensor:
    """BT.601 luma of ``(3, H, W)`` RGB in [0, 1], as ``(1, H, W)`` in [16/255, 235/255]."""
    weights = torch.tensor(_LUMA, dtype=image.dtype, device=image.device).view(3, 1, 1)
    return (image * weights).sum(dim=0, keepdim=True) + _LUMA_OFFSET
