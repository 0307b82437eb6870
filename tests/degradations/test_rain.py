import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import RandomRainStreaks
from abair_pl.degradations.rain import _LAYERS
from abair_pl.metrics import psnr

SEEDS = np.arange(8)
SIZE = (96, 96)
LUMA = torch.tensor([65.481, 128.553, 24.966]).view(3, 1, 1) / 255.0  # of BT.601, as the deraining papers measure


def _streaks(operator: RandomRainStreaks) -> Tensor:
    return operator.streaks(operator.draw(SEEDS), SIZE)


@pytest.mark.parametrize(("severity", "published_db"), [(0.3, 26.9), (0.9, 13.6)], ids=["Rain100L", "Rain100H"])
def test_light_and_heavy_rain_are_as_strong_as_published(
    scenes: dict[str, Tensor], severity: float, published_db: float
) -> None:
    """Input PSNR of luma, on ten photographs, each under twelve rains."""
    operator = RandomRainStreaks(severity=(severity, severity))
    found = []
    for index, photograph in enumerate(scenes.values()):
        clean = photograph[:, 20:276, 60:316].expand(12, -1, -1, -1)
        rainy = operator.apply(clean, operator.draw(np.arange(12) + 12 * index))
        offset = 16.0 / 255.0
        luma = [(LUMA * image).sum(dim=1, keepdim=True) + offset for image in (rainy, clean)]
        found.append(float(psnr(luma[0], luma[1]).mean()))
    assert sum(found) / len(found) == pytest.approx(published_db, abs=1.0)


def test_rain_only_moves_towards_its_brightness(photo: Tensor) -> None:
    operator = RandomRainStreaks()
    parameters = operator.draw(SEEDS[:4])
    brightness = parameters["brightness"].view(-1, 1, 1, 1)
    degraded = operator.apply(photo, parameters)
    assert (torch.minimum(photo, brightness) - 1e-6 <= degraded).all()
    assert (degraded <= torch.maximum(photo, brightness) + 1e-6).all()
    assert ((degraded - photo).amax((1, 2, 3)) > 0.1).all()


def test_it_is_its_formula(photo: Tensor) -> None:
    operator = RandomRainStreaks(severity=(0.8, 0.8))
    parameters = operator.draw(SEEDS[:4])
    opacity = operator.streaks(parameters, (40, 48))
    brightness, veil = (parameters[name].view(-1, 1, 1, 1) for name in ("brightness", "veil"))
    expected = (1.0 - veil) * (photo * (1.0 - opacity) + brightness * opacity) + veil * brightness
    assert torch.allclose(operator.apply(photo, parameters), expected, atol=1e-6)


def test_more_of_the_image_is_covered_at_higher_severity() -> None:
    light, heavy = (
        (_streaks(RandomRainStreaks(severity=(level, level))) > 0.1).float().mean((1, 2, 3)) for level in (0.0, 1.0)
    )
    assert (heavy > 2 * light).all()
    assert (light > 0).all()


def test_streaks_run_in_their_direction() -> None:
    upright = _streaks(RandomRainStreaks(severity=(0.0, 0.0), angle_deg=(0.0, 0.0)))
    assert float(upright.diff(dim=2).abs().mean()) < 0.3 * float(upright.diff(dim=3).abs().mean())
    slanted = _streaks(RandomRainStreaks(severity=(0.0, 0.0), angle_deg=(45.0, 45.0)))
    along = float((slanted[:, :, 1:, 1:] - slanted[:, :, :-1, :-1]).abs().mean())
    against = float((slanted[:, :, 1:, :-1] - slanted[:, :, :-1, 1:]).abs().mean())
    assert along < 0.3 * against


def test_layers_spread_around_the_samples_direction() -> None:
    operator = RandomRainStreaks(severity=(1.0, 1.0), angle_deg=(10.0, 10.0), spread_deg=(0.0, 8.0))
    drawn = operator.draw(np.arange(400))
    angles = torch.stack([drawn[f"slope_{layer}"] for layer in range(len(_LAYERS))], dim=1).atan().rad2deg()
    assert 2.0 <= float(angles.min()) < 3.0
    assert 17.0 < float(angles.max()) <= 18.0
    assert float(angles.std(dim=1).mean()) > 2.0
    calm = RandomRainStreaks(severity=(0.0, 0.0), angle_deg=(10.0, 10.0)).draw(np.arange(9))
    assert torch.allclose(calm["slope_0"], calm[f"slope_{len(_LAYERS) - 1}"])


def test_number_of_drops_rises_in_equal_ratios() -> None:
    operator = RandomRainStreaks(drops_per_kilopixel=(1.0, 16.0))
    drops = [float(operator.draw(SEEDS[:1], (dial, dial))["drops_per_kilopixel"]) for dial in (0.0, 0.25, 0.5, 1.0)]
    assert drops == pytest.approx([1.0, 2.0, 4.0, 16.0], rel=1e-5)


def test_opacity_stays_within_zero_and_one() -> None:
    streaks = _streaks(RandomRainStreaks(severity=(1.0, 1.0), drops_per_kilopixel=(20.0, 20.0), opacity=(1.0, 1.0)))
    assert float(streaks.min()) >= 0.0
    assert 0.99 < float(streaks.max()) <= 1.0


def test_invisible_drops_and_no_veil_leave_the_image_alone(photo: Tensor) -> None:
    operator = RandomRainStreaks(opacity=(0.0, 0.0), veil=(0.0, 0.0))
    assert torch.equal(operator(photo), photo)


def test_hardly_any_drops_leave_most_samples_alone(photo: Tensor) -> None:
    """The fewest that can be asked for are one thousandth in 1000 pixels."""
    operator = RandomRainStreaks(severity=(0.0, 0.0), drops_per_kilopixel=(1e-3, 1e-3), veil=(0.0, 0.0))
    clean = photo[:1].expand(100, -1, -1, -1)
    degraded = operator.apply(clean, operator.draw(np.arange(100)))
    changed = (degraded != clean).flatten(1).any(dim=1)
    assert 0.0 < float(changed.float().mean()) < 0.2
    assert float((degraded - clean).abs().mean()) < 1e-3


def test_veil_blends_towards_the_brightness_of_the_streaks(photo: Tensor) -> None:
    operator = RandomRainStreaks(severity=(1.0, 1.0), opacity=(0.0, 0.0), veil=(0.0, 0.4), brightness=(0.8, 0.8))
    parameters = operator.draw(SEEDS[:4])
    veil = parameters["veil"].view(-1, 1, 1, 1)
    assert float(veil.max()) > 0.1
    assert torch.allclose(operator.apply(photo, parameters), photo * (1 - veil) + 0.8 * veil, atol=1e-6)
