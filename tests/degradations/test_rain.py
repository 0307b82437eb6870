import math

import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import RandomRainStreaks

SEEDS = np.arange(8)
SIZE = (96, 96)


def _streaks(operator: RandomRainStreaks) -> Tensor:
    return operator.streaks(operator.draw(SEEDS), SIZE)


def test_dark_images_only_get_brighter() -> None:
    dark = 0.5 * torch.rand(8, 3, *SIZE)
    operator = RandomRainStreaks()
    change = operator(dark, params=operator.draw(SEEDS)) - dark
    assert float(change.min()) > -1e-6
    assert (change.amax((1, 2, 3)) > 0.1).all()


def test_more_of_the_image_is_covered_at_higher_severity() -> None:
    light, heavy = (
        (_streaks(RandomRainStreaks(severity=(level, level))) > 0.1).float().mean((1, 2, 3)) for level in (0.0, 1.0)
    )
    assert (heavy > 2 * light).all()
    assert (light > 0).all()


@pytest.mark.parametrize("per_kilopixel", [1.0, 4.0])
def test_drops_are_as_many_as_asked(per_kilopixel: float) -> None:
    operator = RandomRainStreaks(drops_per_kilopixel=(per_kilopixel, per_kilopixel), angle_deg=(0.0, 0.0))
    parameters = operator.draw(np.arange(16))
    assert torch.allclose(parameters["density"], torch.tensor(per_kilopixel / 1000))
    # Drops this short and thin cover one pixel each; there are two layers of them.
    dots = {"length_px": 1.0, "width_px": 0.3, "opacity": 1.0}
    parameters |= {name: torch.full((16,), value) for name, value in dots.items()}
    covered = operator.streaks(parameters, (128, 128)) > 0.15
    assert float(covered.float().mean()) == pytest.approx(2 * per_kilopixel / 1000, rel=0.1)


def test_streaks_follow_the_direction_of_fall() -> None:
    upright = _streaks(RandomRainStreaks(angle_deg=(0.0, 0.0)))
    assert float(upright.diff(dim=2).abs().mean()) < 0.5 * float(upright.diff(dim=3).abs().mean())
    slanted = _streaks(RandomRainStreaks(angle_deg=(30.0, 30.0)))
    shift = round(8 * math.tan(math.radians(30)))
    along, against = (
        float((slanted[..., :-8, 8:-8] - slanted.roll(-side * shift, 3)[..., 8:, 8:-8]).abs().mean())
        for side in (1, -1)
    )
    assert along < 0.9 * against


def test_opacity_stays_within_zero_and_one() -> None:
    streaks = _streaks(RandomRainStreaks(severity=(1.0, 1.0), drops_per_kilopixel=(200.0, 200.0)))
    assert float(streaks.min()) >= 0.0
    assert float(streaks.max()) <= 1.0


def test_no_drops_and_no_veil_leave_the_image_alone(photo: Tensor) -> None:
    operator = RandomRainStreaks(drops_per_kilopixel=(0.0, 0.0), veil=(0.0, 0.0))
    assert torch.equal(operator(photo), photo)


def test_veil_blends_towards_the_brightness_of_the_streaks(photo: Tensor) -> None:
    operator = RandomRainStreaks(severity=(1.0, 1.0), opacity=(0.0, 0.0), veil=(0.0, 0.4), brightness=(0.8, 0.8))
    parameters = operator.draw(SEEDS[:4])
    veil = parameters["veil"].view(-1, 1, 1, 1)
    assert float(veil.max()) > 0.1
    assert torch.allclose(operator(photo, params=dict(parameters)), photo * (1 - veil) + 0.8 * veil, atol=1e-6)
