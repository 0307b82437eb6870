import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from abair_pl.degradations.kernels import (
    convolve,
    disc_profile,
    gaussian_profile,
    line_profile,
    path_profile,
    pixel_grid,
    unit_sum,
)

SIZE_PX = 31
CPU = torch.device("cpu")


def _covariance(kernel: Tensor) -> Tensor:
    """Second moments ``[[xx, xy], [xy, yy]]`` of one kernel."""
    x, y = pixel_grid(kernel.shape[-1], CPU)
    weight = kernel / kernel.sum()
    return torch.stack([(weight * a * b).sum() for a in (x, y) for b in (x, y)]).view(2, 2)


def test_pixel_grid_is_centred_with_x_to_the_right_and_y_down() -> None:
    x, y = pixel_grid(5, CPU)
    assert x[0, 0].tolist() == y[0, :, 0].tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("angle_rad", "far_end"),
    [(0.0, (7, 0)), (math.pi / 4, (5, 5)), (-math.pi / 4, (5, -5)), (math.pi / 2, (0, 7))],
)
def test_line_runs_along_its_angle(angle_rad: float, far_end: tuple[int, int]) -> None:
    kernel = line_profile(torch.tensor([15.0]), torch.tensor([0.6]), torch.tensor([angle_rad]), SIZE_PX)[0]
    centre, (down, right) = SIZE_PX // 2, far_end
    assert float(kernel[centre + down, centre + right]) > 0.9
    assert float(kernel[centre - down, centre - right]) > 0.9
    assert float(kernel[centre + right, centre - down]) < 0.01


def test_line_is_as_long_as_asked() -> None:
    lengths = torch.tensor([1.0, 5.0, 12.0, 29.0])
    kernel = line_profile(lengths, torch.full((4,), 0.6), torch.zeros(4), SIZE_PX)
    assert kernel[:, :, SIZE_PX // 2].sum(dim=1).tolist() == pytest.approx(lengths.tolist())


def test_gaussian_has_its_sigma_ratio_and_angle() -> None:
    upright = gaussian_profile(torch.tensor([3.0]), torch.tensor([0.5]), torch.zeros(1), SIZE_PX)[0]
    assert _covariance(upright).flatten().tolist() == pytest.approx([2.25, 0.0, 0.0, 9.0], abs=0.02)
    turned = gaussian_profile(torch.tensor([3.0]), torch.tensor([0.5]), torch.tensor([math.pi / 4]), SIZE_PX)[0]
    assert _covariance(turned).flatten().tolist() == pytest.approx([5.625, 3.375, 3.375, 5.625], abs=0.02)


def test_gaussian_of_no_width_is_a_point() -> None:
    kernel = gaussian_profile(torch.zeros(1), torch.ones(1), torch.zeros(1), 5)[0]
    assert kernel.nonzero().tolist() == [[2, 2]]


@pytest.mark.parametrize("radius_px", [1.5, 4.5, 10.0])
def test_disc_has_the_area_of_its_radius(radius_px: float) -> None:
    disc = disc_profile(torch.tensor([radius_px]), SIZE_PX)
    assert float(disc.sum()) == pytest.approx(math.pi * radius_px**2, rel=0.05)


def test_path_lands_where_the_point_was() -> None:
    path = torch.tensor([[[0.0, 0.0], [2.25, -1.0], [-3.0, 3.5], [90.0, 0.0]]])
    expected = torch.zeros(9, 9)
    expected[4, 4] = 1.0
    expected[3, 6], expected[3, 7] = 0.75, 0.25  # between two pixels, one row up
    expected[7, 1] = expected[8, 1] = 0.5
    assert torch.allclose(path_profile(path, 9)[0], expected)


def test_unit_sum_scales_each_kernel_by_itself() -> None:
    kernels = torch.rand(3, 5, 5) * torch.tensor([1.0, 10.0, 100.0]).view(-1, 1, 1)
    scaled = unit_sum(kernels)
    assert scaled.sum(dim=(1, 2)).tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert torch.allclose(scaled[1] / scaled[1].max(), kernels[1] / kernels[1].max())


@pytest.mark.parametrize("size", [(24, 32), (75, 50), (5, 7), (1, 1)], ids=str)
@pytest.mark.parametrize("kernel_px", [1, 3, 21])
def test_convolve_is_scipys_convolution_with_replicated_edges(size: tuple[int, int], kernel_px: int) -> None:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, 3, *size, generator=generator)
    kernels = torch.rand(2, kernel_px, kernel_px, generator=generator)
    kernels = unit_sum(kernels**4)  # uneven, so that a mirrored kernel would show
    blurred = convolve(images, kernels)
    for image, kernel, found in zip(images.numpy(), kernels.numpy(), blurred.numpy(), strict=True):
        expected = [ndimage.convolve(channel.astype(np.float64), kernel, mode="nearest") for channel in image]
        assert np.abs(found - np.stack(expected)).max() < 2e-6
