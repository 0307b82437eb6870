"""Small filter kernels, one for each sample, rendered from their physical parameters."""

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

_MIN_SIGMA_PX = 1e-3


def pixel_grid(size_px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates of an odd-sized kernel's pixels, measured from its centre.

    Returns:
        ``x`` (to the right) and ``y`` (down), each ``(1, size, size)``, in pixels.
    """
    axis = torch.arange(size_px, device=device, dtype=torch.float32) - size_px // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]


def line_profile(length_px: Tensor, width_px: Tensor, angle_rad: Tensor, size_px: int) -> Tensor:
    """An anti-aliased line segment through the centre, with a Gaussian cross-section.

    Args:
        length_px: ``(N,)`` length of the segment.
        width_px: ``(N,)`` standard deviation across it.
        angle_rad: ``(N,)`` angle from the vertical, positive to the right going down.
        size_px: Odd side of the kernel.

    Returns:
        ``(N, size, size)``, 1 on the segment and 0 far from it.
    """
    x, y = pixel_grid(size_px, length_px.device)
    sine, cosine = angle_rad.sin().view(-1, 1, 1), angle_rad.cos().view(-1, 1, 1)
    along = x * sine + y * cosine
    across = x * cosine - y * sine
    inside = (0.5 + length_px.view(-1, 1, 1) / 2 - along.abs()).clamp(0.0, 1.0)
    return inside * torch.exp(-0.5 * (across / width_px.view(-1, 1, 1)) ** 2)


def gaussian_profile(sigma_px: Tensor, ratio: Tensor, angle_rad: Tensor, size_px: int) -> Tensor:
    """An anisotropic Gaussian.

    Args:
        sigma_px: ``(N,)`` standard deviation along the long axis; at 0 nothing but the centre is left.
        ratio: ``(N,)`` short axis over long axis, in (0, 1].
        angle_rad: ``(N,)`` angle of the long axis from the vertical.
        size_px: Odd side of the kernel.

    Returns:
        ``(N, size, size)``, 1 at the centre.
    """
    x, y = pixel_grid(size_px, sigma_px.device)
    sine, cosine = angle_rad.sin().view(-1, 1, 1), angle_rad.cos().view(-1, 1, 1)
    long, short = (sigma.clamp_min(_MIN_SIGMA_PX).view(-1, 1, 1) for sigma in (sigma_px, sigma_px * ratio))
    along = (x * sine + y * cosine) / long
    across = (x * cosine - y * sine) / short
    return torch.exp(-0.5 * (along**2 + across**2))


def disc_profile(radius_px: Tensor, size_px: int) -> Tensor:
    """An anti-aliased disc, the blur of a lens out of focus.

    Args:
        radius_px: ``(N,)``.
        size_px: Odd side of the kernel.

    Returns:
        ``(N, size, size)``, 1 inside the disc.
    """
    x, y = pixel_grid(size_px, radius_px.device)
    return (radius_px.view(-1, 1, 1) + 0.5 - torch.hypot(x, y)).clamp(0.0, 1.0)


def unit_sum(kernel: Tensor) -> Tensor:
    """Scale each kernel of ``(N, size, size)`` so that it sums to 1."""
    return kernel / kernel.sum(dim=(1, 2), keepdim=True)


def path_profile(path: Tensor, size_px: int) -> Tensor:
    """The trace of a moving point, each moment a bilinear splat.

    Args:
        path: ``(N, T, 2)`` in pixels from the centre.
        size_px: Odd side of the kernel; what lies outside is left out.

    Returns:
        ``(N, size, size)``.
    """
    axis = torch.arange(size_px, device=path.device, dtype=torch.float32) - size_px // 2
    across, down = (1.0 - (path[..., None] - axis).abs()).clamp_min_(0.0).unbind(dim=2)
    return down.transpose(1, 2) @ across


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter each image by its own kernel, in the frequency domain, whose cost does not depend on the kernel's size.

    Args:
        image: ``(B, C, H, W)``; its edges are replicated.
        kernel: ``(B, K, K)``, K odd.

    Returns:
        ``(B, C, H, W)``: ``sum k(i, j) * image(y - i, x - j)``, ``i`` and ``j`` from the kernel's centre.
    """
    margin = kernel.shape[-1] // 2
    height, width = image.shape[2:]
    size = (next_fast_len(height + 2 * margin, real=True), next_fast_len(width + 2 * margin, real=True))
    below, right = size[0] - height - margin, size[1] - width - margin
    padded = F.pad(image, (margin, right, margin, below), mode="replicate")
    response = torch.fft.rfft2(kernel, s=size)[:, None]
    blurred = torch.fft.irfft2(torch.fft.rfft2(padded).mul_(response), s=size)
    start = 2 * margin
    return blurred[:, :, start : start + height, start : start + width]
