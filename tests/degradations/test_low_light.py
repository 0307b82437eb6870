from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations import RandomLowLight
from abair_pl.degradations.random import smooth_field
from abair_pl.degradations.tone import GAMMA

EVEN: dict[str, Any] = {"gamma": (1.0, 1.0), "cast": 0.0, "unevenness": (0.0, 0.0)}
SILENT: dict[str, Any] = {"shot": (0.0, 0.0), "read": (0.0, 0.0)}


def test_without_sensor_noise_it_is_its_formula(photo: Tensor, seeds: NDArray[np.int64]) -> None:
    operator = RandomLowLight(shot=(0.0, 0.0), read=(0.0, 0.0))
    parameters = operator.draw(seeds)
    degraded = operator.apply(photo, parameters)
    values = {name: value.view(-1, 1, 1, 1).double() for name, value in parameters.items()}
    lit = smooth_field(parameters["seed"], "low_light/map", (40, 48), octaves=2).double()
    stops = values["exposure_ev"] * (1.0 + values["unevenness"] * (2.0 * lit - 1.0))
    expected = (photo.double() ** GAMMA * 2.0**-stops) ** (values["gamma"] / GAMMA)
    cast = torch.cat([values["red"], torch.ones_like(values["red"]), values["blue"]], dim=1)
    assert float((degraded - (expected * cast).clamp(0, 1)).abs().max()) < 0.51 / 255


def test_output_is_rounded_to_8_bits(photo: Tensor) -> None:
    levels = RandomLowLight()(photo) * 255.0
    assert torch.allclose(levels, levels.round(), atol=1e-3)


@pytest.mark.parametrize("stops", [0.0, 1.0, 2.0, 3.0])
def test_every_stop_halves_linear_light(stops: float) -> None:
    operator = RandomLowLight(exposure_ev=(stops, stops), **EVEN, **SILENT)
    white = operator(torch.ones(1, 3, 4, 4))
    assert float((white**GAMMA).mean()) == pytest.approx(0.5**stops, rel=0.02)


def test_sensor_noise_has_its_variance_in_linear_light() -> None:
    shot, read, level = 0.002, 0.02, 0.7
    operator = RandomLowLight(
        severity=(1.0, 1.0),
        exposure_ev=(0.0, 0.0),
        shot=(shot, shot),
        read=(read, read),
        **EVEN,
    )
    grey = torch.full((8, 3, 96, 96), level)
    sensed = operator.apply(grey, operator.draw(np.arange(8))) ** GAMMA
    assert float(sensed.mean()) == pytest.approx(level**GAMMA, rel=0.01)
    assert float(sensed.var()) == pytest.approx(shot * level**GAMMA + read**2, rel=0.03)


def test_brightness_falls_with_severity(photo: Tensor, seeds: NDArray[np.int64]) -> None:
    operator = RandomLowLight()
    bright = [operator.apply(photo, operator.draw(seeds, (d, d))).mean((1, 2, 3)) for d in (0.0, 0.25, 0.5, 0.75, 1.0)]
    falling = torch.stack([photo.mean((1, 2, 3)), *bright])
    assert (falling.diff(dim=0) < 0).all()
    assert (bright[-1] < 0.45 * photo.mean((1, 2, 3))).all()


def test_the_map_leaves_parts_better_lit_than_others() -> None:
    grey = torch.full((16, 3, 64, 64), 0.8)
    even, uneven = (RandomLowLight(unevenness=(u, u), gamma=(1.0, 1.0), cast=0.0, **SILENT) for u in (0.0, 0.8))
    flat, lit = (operator.apply(grey, operator.draw(np.arange(16))) for operator in (even, uneven))
    assert float(flat.flatten(1).std(dim=1).max()) < 1e-6
    assert (lit.flatten(1).std(dim=1) > 0.03).all()


def test_the_cast_moves_red_and_blue_but_not_green() -> None:
    operator = RandomLowLight(**{**EVEN, **SILENT, "cast": 0.08})
    parameters = operator.draw(np.arange(50))
    degraded = operator.apply(torch.ones(50, 3, 2, 2), parameters).mean((2, 3))
    for color, channel in (("red", 0), ("blue", 2)):
        assert 0.92 <= float(parameters[color].min()) < 0.94 < 1.06 < float(parameters[color].max()) <= 1.08
        assert torch.allclose(degraded[:, channel] / degraded[:, 1], parameters[color], atol=0.02)
