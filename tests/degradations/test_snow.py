import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import RandomSnow

SEEDS = np.arange(8)
SIZE = (96, 96)


def _flakes(operator: RandomSnow) -> Tensor:
    return operator.flakes(operator.draw(SEEDS), SIZE)


def test_it_is_its_formula(photo: Tensor) -> None:
    operator = RandomSnow(severity=(0.8, 0.8))
    parameters = operator.draw(SEEDS[:4])
    opacity = operator.flakes(parameters, (40, 48))
    brightness, veil = (parameters[name].view(-1, 1, 1, 1) for name in ("brightness", "veil"))
    expected = (1.0 - veil) * (photo * (1.0 - opacity) + brightness * opacity) + veil * brightness
    assert torch.allclose(operator.apply(photo, parameters), expected, atol=1e-6)


def test_snow_only_moves_towards_its_brightness(photo: Tensor) -> None:
    operator = RandomSnow()
    parameters = operator.draw(SEEDS[:4])
    brightness = parameters["brightness"].view(-1, 1, 1, 1)
    degraded = operator.apply(photo, parameters)
    assert (torch.minimum(photo, brightness) - 1e-6 <= degraded).all()
    assert (degraded <= torch.maximum(photo, brightness) + 1e-6).all()
    assert ((degraded - photo).amax((1, 2, 3)) > 0.1).all()


def test_more_of_the_image_is_covered_at_higher_severity() -> None:
    light, heavy = (
        (_flakes(RandomSnow(severity=(level, level))) > 0.1).float().mean((1, 2, 3)) for level in (0.0, 1.0)
    )
    assert (heavy > 1.5 * light).all()
    assert (light > 0).all()


def test_opacity_stays_within_zero_and_one() -> None:
    flakes = _flakes(RandomSnow(severity=(1.0, 1.0), flakes_per_kilopixel=(8.0, 8.0), opacity=(1.0, 1.0)))
    assert float(flakes.min()) >= 0.0
    assert 0.9 < float(flakes.max()) <= 1.0


def test_resting_flakes_are_round() -> None:
    """Without a way there is no direction: gradients down and across are alike."""
    flakes = _flakes(RandomSnow(length_px=(0.0, 0.0), angle_deg=(0.0, 0.0)))
    down, across = (float(flakes.diff(dim=dim).abs().mean()) for dim in (2, 3))
    assert down == pytest.approx(across, rel=0.15)


def test_falling_flakes_are_drawn_out() -> None:
    flakes = _flakes(RandomSnow(length_px=(60.0, 60.0), angle_deg=(0.0, 0.0)))
    assert float(flakes.diff(dim=2).abs().mean()) < 0.6 * float(flakes.diff(dim=3).abs().mean())


def test_invisible_flakes_and_no_veil_leave_the_image_alone(photo: Tensor) -> None:
    operator = RandomSnow(opacity=(0.0, 0.0), veil=(0.0, 0.0))
    assert torch.equal(operator(photo), photo)


def test_hardly_any_flakes_leave_the_image_nearly_alone(photo: Tensor) -> None:
    operator = RandomSnow(flakes_per_kilopixel=(1e-3, 1e-3), veil=(0.0, 0.0))
    clean = photo[:1].expand(100, -1, -1, -1)
    degraded = operator.apply(clean, operator.draw(np.arange(100)))
    assert float((degraded - clean).abs().mean()) < 2e-3


def test_parameters_are_within_their_ranges_and_follow_severity() -> None:
    operator = RandomSnow(flakes_per_kilopixel=(1.0, 8.0), radius_px=(3.0, 8.0), length_px=(0.0, 14.0))
    drawn = operator.draw(np.arange(500))
    assert torch.allclose(drawn["flakes_per_kilopixel"], 8.0 ** drawn["severity"], rtol=1e-4)
    assert 3.0 <= float(drawn["radius_px"].min()) < float(drawn["radius_px"].max()) <= 8.0
    assert float(torch.corrcoef(torch.stack([drawn["radius_px"], drawn["severity"]]))[0, 1]) > 0.6
    assert 0.0 <= float(drawn["length_px"].min()) < float(drawn["length_px"].max()) <= 14.0
    slopes = torch.stack([drawn[f"slope_{layer}"] for layer in range(3)], dim=1).atan().rad2deg()
    assert float(slopes.abs().max()) <= 60.0
    assert float(slopes.std(dim=1).mean()) > 2.0
