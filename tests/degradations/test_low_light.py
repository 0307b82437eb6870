import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations import RandomLowLight


def test_without_sensor_noise_it_is_its_formula(photo: Tensor, seeds: NDArray[np.int64]) -> None:
    operator = RandomLowLight(shot=(0.0, 0.0), read=(0.0, 0.0))
    parameters = operator.draw(seeds)
    degraded = operator(photo, params=dict(parameters))
    values = {name: value.view(-1, 1, 1, 1).double() for name, value in parameters.items()}
    linear = photo.double() ** 2.2 * 2.0 ** -values["exposure_ev"]
    expected = linear ** (values["gamma"] / 2.2)
    cast = torch.cat([values["red"], torch.ones_like(values["red"]), values["blue"]], dim=1)
    assert float((degraded - expected * cast).abs().max()) < 1 / 255


def test_output_is_rounded_to_8_bits(photo: Tensor) -> None:
    levels = RandomLowLight()(photo) * 255.0
    assert torch.allclose(levels, levels.round(), atol=1e-3)


def test_every_stop_halves_linear_light() -> None:
    white = torch.ones(1, 3, 4, 4)
    for stops in (1.0, 2.0, 3.0):
        operator = RandomLowLight(
            exposure_ev=(stops, stops), shot=(0.0, 0.0), read=(0.0, 0.0), gamma=(1.0, 1.0), cast=0.0
        )
        assert float((operator(white) ** 2.2).mean()) == pytest.approx(0.5**stops, rel=0.02)


def test_sensor_noise_has_its_variance_in_linear_light() -> None:
    shot, read, level = 0.002, 0.02, 0.7
    operator = RandomLowLight(exposure_ev=(0.0, 0.0), shot=(shot, shot), read=(read, read), gamma=(1.0, 1.0), cast=0.0)
    grey = torch.full((8, 3, 64, 64), level)
    sensed = operator(grey, params=operator.draw(np.arange(8))) ** 2.2
    assert float(sensed.mean()) == pytest.approx(level**2.2, rel=0.01)
    assert float(sensed.var()) == pytest.approx(shot * level**2.2 + read**2, rel=0.03)
