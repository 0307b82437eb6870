import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import RandomBlur
from abair_pl.degradations.base import Parameters

SEEDS = np.arange(60)


@pytest.fixture
def drawn() -> tuple[RandomBlur, Parameters]:
    """The operator and parameters of 60 samples."""
    operator = RandomBlur()
    return operator, operator.draw(SEEDS)


def test_kernels_are_non_negative_and_sum_to_one(drawn: tuple[RandomBlur, Parameters]) -> None:
    operator, parameters = drawn
    kernels = operator.kernel(parameters)
    assert kernels.shape == (60, 21, 21)
    assert float(kernels.min()) >= 0.0
    assert torch.allclose(kernels.sum(dim=(1, 2)), torch.ones(60))


def test_all_three_families_occur(drawn: tuple[RandomBlur, Parameters]) -> None:
    assert drawn[1]["family"].unique().tolist() == [0.0, 1.0, 2.0]


def test_constant_images_stay_as_they_are(drawn: tuple[RandomBlur, Parameters]) -> None:
    operator, parameters = drawn
    flat = torch.rand(60, 3, 1, 1).expand(-1, -1, 9, 34)
    assert torch.allclose(operator(flat, params=parameters), flat, atol=1e-6)


def test_a_point_of_light_becomes_the_samples_own_kernel(drawn: tuple[RandomBlur, Parameters]) -> None:
    operator, parameters = drawn
    point = torch.zeros(60, 3, 41, 41)
    point[:, :, 20, 20] = 1.0
    spread = operator(point, params=parameters)[:, :, 10:31, 10:31]
    assert torch.allclose(spread, operator.kernel(parameters)[:, None].expand(-1, 3, -1, -1), atol=1e-6)


def test_blur_wipes_out_detail(photo: Tensor) -> None:
    operator = RandomBlur()
    degraded = operator(photo, params=operator.draw(SEEDS[:4]))
    assert (degraded.diff(dim=3).abs().mean((1, 2, 3)) < photo.diff(dim=3).abs().mean((1, 2, 3))).all()


def test_blur_of_no_extent_is_finite() -> None:
    operator = RandomBlur(motion_px=(0.0, 0.0), radius_px=(0.0, 0.0), sigma_px=(0.0, 0.0))
    assert operator(torch.full((60, 3, 24, 24), 0.5), params=operator.draw(SEEDS)).isfinite().all()
