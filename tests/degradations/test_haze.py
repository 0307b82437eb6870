import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations import RandomHaze
from abair_pl.degradations.base import Parameters


def _airlight(parameters: Parameters) -> Tensor:
    channels = [parameters[f"airlight_{color}"] for color in ("red", "green", "blue")]
    return torch.stack(channels, dim=1)[..., None, None]


def test_haze_obeys_koschmieders_law(photo: Tensor, seeds: NDArray[np.int64]) -> None:
    operator = RandomHaze()
    parameters = operator.draw(seeds)
    degraded = operator(photo, params=dict(parameters))
    depth = operator.depth(parameters, (40, 48))
    transmission = torch.exp(-parameters["beta"].view(-1, 1, 1, 1) * depth)
    expected = photo * transmission + _airlight(parameters) * (1.0 - transmission)
    assert torch.allclose(degraded, expected, atol=1e-6)


def test_depth_recedes_from_near_at_the_bottom_to_far_at_the_top() -> None:
    operator = RandomHaze()
    parameters = operator.draw(np.arange(64))
    depth = operator.depth(parameters, (32, 40))
    assert depth.shape == (64, 1, 32, 40)
    assert (depth >= parameters["near"].view(-1, 1, 1, 1) - 1e-6).all()
    assert float(depth.max()) <= 1.0 + 1e-6
    assert float(depth[:, :, :8].mean()) > float(depth[:, :, -8:].mean()) + 0.1
    assert len(depth.mean((1, 2, 3)).unique()) == 64


def test_airlight_is_within_its_range_and_slightly_coloured() -> None:
    airlight = _airlight(RandomHaze(airlight=(0.7, 0.9), tint=0.03).draw(np.arange(500)))
    assert 0.67 <= float(airlight.min()) < float(airlight.max()) <= 0.93
    spread = airlight.amax(1) - airlight.amin(1)
    assert 0.0 < float(spread.mean()) < float(spread.max()) <= 0.06 + 1e-6


def test_without_scattering_nothing_changes(photo: Tensor) -> None:
    assert torch.allclose(RandomHaze(beta=(0.0, 0.0))(photo), photo, atol=1e-6)
