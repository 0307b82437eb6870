import math

import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations.particles import Layers, draw_particles, slopes, veiled

SEEDS = torch.arange(4)
SIZE = (96, 80)


def _layers(
    per_kilopixel: float = 1.0, radius_px: float = 0.6, length_px: float = 20.0, tilt: float = 0.0, batch: int = 4
) -> Layers:
    """One layer for each sample, all alike."""
    number, radius, length, slant = (
        torch.full((batch, 1), value) for value in (per_kilopixel, radius_px, length_px, tilt)
    )
    return Layers(number, radius, length, slant, most_per_kilopixel=20.0, largest_radius_px=max(radius_px, 1.5))


def _runs(column: Tensor) -> list[int]:
    """Lengths of the runs of True, those at the ends left out."""
    padded = torch.cat([torch.zeros(1), column.float(), torch.zeros(1)]).diff()
    starts, ends = ((padded == sign).nonzero()[:, 0].tolist() for sign in (1, -1))
    return [end - start for start, end in zip(starts, ends, strict=True) if start > 0 and end < len(column)]


def test_opacity_is_in_range_and_of_the_size_asked_for() -> None:
    drawn = draw_particles(SEEDS, "a", _layers(per_kilopixel=19.0, length_px=64.0), SIZE)
    assert drawn.shape == (4, 1, *SIZE)
    assert float(drawn.min()) == 0.0
    assert 0.9 < float(drawn.max()) <= 1.0


def test_without_particles_nothing_is_drawn() -> None:
    assert not draw_particles(SEEDS, "a", _layers(per_kilopixel=0.0), SIZE).any()
    rare = _layers(per_kilopixel=5e-3, length_px=4.0, batch=2000)  # one in 60 samples, of which a third are in sight
    assert 2 < int(draw_particles(torch.arange(2000), "a", rare, (32, 32)).amax((1, 2, 3)).count_nonzero()) < 30


def test_the_samples_number_decides_and_not_the_largest_of_the_batch() -> None:
    alone = draw_particles(SEEDS[:1], "a", _layers(1.0, batch=1), SIZE)
    crowded = _layers(1.0)
    crowded.per_kilopixel[1:] = 18.0
    together = draw_particles(SEEDS, "a", crowded, SIZE)
    assert torch.equal(alone[0], together[0])
    assert float(together[1].mean()) > 5 * float(together[0].mean())


@pytest.mark.parametrize("size", [(16, 16), (128, 96)], ids=str)
@pytest.mark.parametrize("per_kilopixel", [0.02, 0.2, 1.0])
def test_particles_are_as_many_as_asked(per_kilopixel: float, size: tuple[int, int]) -> None:
    """On average each has an opacity of 0.7, 3/4 of the width and of the length, and a disc's two halves."""
    length_px, radius_px = 40.0, 1.0
    mass = 0.7 * (1.5 * radius_px * 0.75 * length_px + math.pi * radius_px**2 * 7 / 12)
    batch = round(24_000 / (size[0] + 67) ** 0.5 / size[1] ** 0.5 / per_kilopixel**0.5)
    layers = _layers(per_kilopixel, radius_px, length_px, batch=batch)
    found = float(draw_particles(torch.arange(batch), "a", layers, size).mean())
    assert found == pytest.approx(1e-3 * per_kilopixel * mass, rel=0.15)


@pytest.mark.parametrize("length_px", [10.0, 30.0, 64.0])
def test_streaks_are_half_to_all_of_the_length_asked_for(length_px: float) -> None:
    layers = _layers(0.03, radius_px=0.6, length_px=length_px, batch=200)
    drawn = draw_particles(torch.arange(200), "a", layers, (220, 60))[:, 0] > 0.0
    runs = [[length for column in sample.T for length in _runs(column)] for sample in drawn]
    lengths = [max(found) for found in runs if found]
    assert len(lengths) > 50
    assert min(lengths) >= 0.5 * length_px
    assert max(lengths) <= length_px + 2 * 0.6 + 2  # the disc's two halves, and two pixels touched in part
    assert max(lengths) > 0.85 * length_px
    assert min(lengths) < 0.65 * length_px + 3


@pytest.mark.parametrize("angle_deg", [-35.0, 20.0, 45.0])
def test_streaks_follow_the_slope(angle_deg: float) -> None:
    """Centre of mass of each row of a lone streak moves by the slope from one row to the next."""
    tilt = math.tan(math.radians(angle_deg))
    drawn = draw_particles(torch.arange(300), "a", _layers(0.04, 0.8, 50.0, tilt, 300), (160, 200))[:, 0]
    x = torch.arange(200.0)
    found = []
    for sample in drawn:
        rows = sample.sum(dim=1) > 0.5
        centre = (sample * x).sum(dim=1) / sample.sum(dim=1)
        spread = ((sample * (x - centre[:, None]) ** 2).sum(dim=1) / sample.sum(dim=1))[rows]
        if int(rows.sum()) >= 20 and float(spread.max()) < 2.0:  # one streak, and not around the corner
            line = np.polyfit(torch.arange(160.0)[rows].numpy(), centre[rows].numpy(), 1)
            found.append(line[0])
    assert len(found) > 10
    assert np.median(found) == pytest.approx(math.tan(math.radians(angle_deg)), abs=0.02)


def test_slopes_are_the_tangents_of_the_layers_directions() -> None:
    angles = np.array([-45.0, 0.0, 45.0], dtype=np.float32)
    draws = {"spread/0": np.full(3, 0.5, dtype=np.float32), "spread/1": np.ones(3, dtype=np.float32)}
    found = slopes(angles, 10.0, draws, layers=2)
    assert found["slope_0"].tolist() == pytest.approx([-1.0, 0.0, 1.0])
    assert found["slope_1"].tolist() == pytest.approx(np.tan(np.deg2rad(angles + 10.0)).tolist())


def test_particles_and_veil_are_blended_by_their_formula() -> None:
    image, opacity = torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8)
    brightness, veil = torch.tensor([0.9, 1.0]), torch.tensor([0.0, 0.2])
    b, v = brightness.view(-1, 1, 1, 1), veil.view(-1, 1, 1, 1)
    expected = (1.0 - v) * (image * (1.0 - opacity) + b * opacity) + v * b
    assert torch.allclose(veiled(image, opacity, {"brightness": brightness, "veil": veil}), expected, atol=1e-6)


def test_a_layer_is_a_torus_from_left_to_right() -> None:
    """Rows lose nothing at the sides: whatever the slant, each row has the mass that it has upright."""
    upright = draw_particles(SEEDS, "a", _layers(3.0, tilt=0.0), SIZE)
    for tilt in (-0.7, 1.0, 2.5):
        slanted = draw_particles(SEEDS, "a", _layers(3.0, tilt=tilt), SIZE)
        assert torch.allclose(slanted.sum(dim=3), upright.sum(dim=3), atol=0.35)
    whole = draw_particles(SEEDS, "a", _layers(3.0, tilt=1.0), SIZE)
    rolled = torch.stack([upright[:, :, row].roll(row, dims=2) for row in range(SIZE[0])], dim=2)
    assert torch.equal(whole, rolled)
    across = draw_particles(torch.arange(300), "a", _layers(0.3, radius_px=1.5, batch=300), SIZE)
    both_sides = (across[..., 0].amax(2) > 0) & (across[..., -1].amax(2) > 0)
    assert both_sides.any()


def test_sums_are_exact_so_that_nothing_is_left_below_a_streak() -> None:
    """In floating point, what an end takes off would not be exactly what the start had put on."""
    drawn = draw_particles(torch.arange(64), "a", _layers(0.6, length_px=6.0, batch=64), (400, 64))
    assert float((drawn == 0.0).float().mean()) > 0.9
    assert torch.equal((drawn * 2**16).round(), drawn * 2**16)
    assert float(drawn[drawn > 0].min()) >= 2**-16


def test_particles_come_in_from_above() -> None:
    drawn = draw_particles(torch.arange(200), "a", _layers(2.0, length_px=60.0, batch=200), SIZE)
    rows = drawn.mean(dim=(0, 1, 3))
    assert rows[:8].mean() == pytest.approx(float(rows[-8:].mean()), rel=0.12)


def test_streams_and_seeds_differ() -> None:
    first = draw_particles(SEEDS, "a", _layers(), SIZE)
    assert not torch.equal(first, draw_particles(SEEDS, "b", _layers(), SIZE))
    assert not torch.equal(first[0], first[1])
