import inspect

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from abair_pl.degradations import RandomCameraShake, RandomDefocus, RandomGaussianBlur, RandomMotionBlur
from abair_pl.degradations.blur import KERNEL_PX, Blur
from abair_pl.degradations.kernels import pixel_grid

KINDS = [RandomCameraShake, RandomMotionBlur, RandomDefocus, RandomGaussianBlur]
SEEDS = np.arange(60)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.kind)
def blur(request: pytest.FixtureRequest) -> Blur:
    """Each kind of blur with its default ranges."""
    made: Blur = request.param()
    return made


def _spread(kernel: Tensor) -> Tensor:
    """Variance of ``(N, K, K)`` kernels along x and y, ``(N, 2)``."""
    axes = pixel_grid(kernel.shape[-1], torch.device("cpu"))
    mean = torch.stack([(kernel * axis).sum((1, 2)) for axis in axes], dim=1)
    return torch.stack([(kernel * axis**2).sum((1, 2)) for axis in axes], dim=1) - mean**2


def test_kernels_are_non_negative_and_sum_to_one(blur: Blur) -> None:
    kernels = blur.kernel(blur.draw(SEEDS))
    assert kernels.shape == (60, KERNEL_PX, KERNEL_PX)
    assert float(kernels.min()) >= 0.0
    assert torch.allclose(kernels.double().sum(dim=(1, 2)), torch.ones(60, dtype=torch.float64), atol=2e-6)
    assert float((kernels[0] - kernels[1]).abs().max()) > 1e-3


def test_nothing_of_the_widest_kernels_is_cut_off(blur: Blur) -> None:
    """The mass on the outermost pixels would show what the box of the kernel takes off."""
    kernels = blur.kernel(blur.draw(SEEDS, dial=(1.0, 1.0)))
    assert float(1.0 - kernels[:, 1:-1, 1:-1].sum(dim=(1, 2)).min()) < 1e-3


def test_blur_is_scipys_convolution_with_replicated_edges(blur: Blur, photo: Tensor) -> None:
    parameters = blur.draw(SEEDS[:4], dial=(0.7, 1.0))
    degraded = blur.apply(photo, parameters).numpy()
    kernels = blur.kernel(parameters).numpy()
    for image, kernel, found in zip(photo.numpy(), kernels, degraded, strict=True):
        expected = [ndimage.convolve(channel.astype(np.float64), kernel, mode="nearest") for channel in image]
        assert np.abs(found - np.stack(expected)).max() < 1e-5


def test_constant_images_stay_as_they_are(blur: Blur) -> None:
    flat = torch.rand(60, 3, 1, 1).expand(-1, -1, 9, 34)
    assert torch.allclose(blur.apply(flat, blur.draw(SEEDS)), flat, atol=1e-5)


def test_blur_wipes_out_detail(blur: Blur, photo: Tensor) -> None:
    degraded = blur.apply(photo, blur.draw(SEEDS[:4]))
    assert (degraded.diff(dim=3).abs().mean((1, 2, 3)) < photo.diff(dim=3).abs().mean((1, 2, 3))).all()


def test_blur_of_no_extent_changes_nothing(blur: Blur, photo: Tensor) -> None:
    extent = list(inspect.signature(type(blur)).parameters)[1]
    none = type(blur)(**{extent: (0.0, 0.0)})
    kernels = none.kernel(none.draw(SEEDS))
    assert kernels.isfinite().all()
    if isinstance(blur, RandomMotionBlur):
        assert (kernels[:, KERNEL_PX // 2, KERNEL_PX // 2] > 0.5).all()  # a line has its width still
    else:
        assert torch.allclose(none.apply(photo, none.draw(SEEDS[:4])), photo, atol=1e-5)


@pytest.mark.parametrize("extent_px", [4.0, 17.5, 30.0])
def test_the_path_of_a_camera_has_the_extent_asked_for(extent_px: float) -> None:
    shake = RandomCameraShake(extent_px=(extent_px, extent_px))
    path = shake.path(shake.draw(SEEDS))
    extent = path.amax(dim=1) - path.amin(dim=1)
    assert torch.allclose(extent.amax(dim=1), torch.full((60,), extent_px), rtol=1e-4)
    assert torch.allclose(path.amax(dim=1), -path.amin(dim=1), atol=1e-3), "the path should be centred"
    touched = shake.kernel(shake.draw(SEEDS)) > 0
    for kernel in touched:
        rows, columns = kernel.nonzero().unbind(1)
        side = 1 + max(int(rows.max() - rows.min()), int(columns.max() - columns.min()))
        assert extent_px <= side <= extent_px + 3


def test_inertia_makes_the_path_smooth() -> None:
    turns = []
    for inertia in (0.0, 0.6, 0.97):
        shake = RandomCameraShake(extent_px=(30.0, 30.0), inertia=(inertia, inertia))
        way = shake.path(shake.draw(SEEDS)).diff(dim=1)
        turns.append(float(torch.cosine_similarity(way[:, 1:], way[:, :-1], dim=2).mean()))
    assert turns == sorted(turns)
    assert turns[0] == pytest.approx(0.0, abs=0.1)
    assert turns[2] > 0.9


@pytest.mark.parametrize("length_px", [6.0, 20.0, 30.0])
def test_motion_runs_as_far_and_in_the_direction_drawn(length_px: float) -> None:
    motion = RandomMotionBlur(length_px=(length_px, length_px))
    parameters = motion.draw(SEEDS)
    kernel = motion.kernel(parameters)
    across, down = _spread(kernel).unbind(1)
    # A line of length L has the variance L^2 / 12 along itself, and that of its width.
    assert torch.allclose(across + down, torch.full((60,), length_px**2 / 12), rtol=0.06, atol=1.0)
    x, y = pixel_grid(KERNEL_PX, torch.device("cpu"))
    off = x * parameters["angle_rad"].cos().view(-1, 1, 1) - y * parameters["angle_rad"].sin().view(-1, 1, 1)
    assert float(((kernel * off**2).sum((1, 2))).max()) < 0.6**2 + 0.05
    assert float(parameters["angle_rad"].min()) < -1.4 < 1.4 < float(parameters["angle_rad"].max())


@pytest.mark.parametrize("radius_px", [1.5, 6.0, 15.0])
def test_defocus_is_an_even_disc(radius_px: float) -> None:
    defocus = RandomDefocus(radius_px=(radius_px, radius_px))
    kernel = defocus.kernel(defocus.draw(SEEDS[:1]))
    spread = _spread(kernel)[0]  # a disc has r^2 / 4 along each axis
    assert spread.tolist() == pytest.approx([radius_px**2 / 4] * 2, rel=0.12)
    inside = kernel[kernel > 0.99 * kernel.max()]
    assert torch.allclose(inside, inside[:1])
    assert float(kernel.max()) == pytest.approx(1 / (np.pi * radius_px**2), rel=0.12)


def test_gaussian_blur_has_the_sigmas_drawn() -> None:
    gaussian = RandomGaussianBlur()
    parameters = gaussian.draw(SEEDS)
    trace = _spread(gaussian.kernel(parameters)).sum(dim=1)
    expected = parameters["sigma_px"] ** 2 * (1.0 + parameters["ratio"] ** 2)
    assert torch.allclose(trace, expected, rtol=0.03)


def test_heavier_blur_is_wider(blur: Blur) -> None:
    light, heavy = (_spread(blur.kernel(blur.draw(SEEDS, dial=(d, d)))).sum(dim=1) for d in (0.0, 1.0))
    assert (heavy > light).all()
