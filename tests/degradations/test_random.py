import math
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.random import (
    SEED_LIMIT,
    child_seeds,
    combine,
    normal_field,
    smooth_field,
    stream_id,
    uniform_field,
    unit_draws,
)

ANY_SEED = st.integers(0, SEED_LIMIT - 1)
EDGE_SEEDS = [0, 1, 2**32 - 1, 2**32, SEED_LIMIT - 1]
SIDE = 256

GOLDEN_STREAM = 695571527
GOLDEN_UNIT = [
    [0.6549106240272522, 0.8481324315071106],
    [0.7563847303390503, 0.7156882882118225],
    [0.6991551518440247, 0.09564685821533203],
    [0.9821622967720032, 0.560710608959198],
]
GOLDEN_CHILDREN = [2314988478561423, 684005876886380, 7834464933464353, 4219617719343263]
GOLDEN_COMBINED = 3777268279694360
GOLDEN_NORMAL = [2.104995, 1.418282, -2.388422, -1.429986, 1.154485, -0.333669, 0.904495, -1.770695]


def _field(seed: int, name: str = "a") -> Tensor:
    return uniform_field(torch.tensor([seed]), name, (SIDE, SIDE))[0].double()


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1])


def _chi_square(values: Tensor, bins: int = 256) -> float:
    """Deviation from flatness in standard deviations of its expected distribution."""
    counts = torch.histc(values.float(), bins, 0.0, 1.0)
    expected = values.numel() / bins
    return float((((counts - expected) ** 2 / expected).sum() - (bins - 1)) / math.sqrt(2 * (bins - 1)))


@pytest.mark.parametrize("seed", EDGE_SEEDS)
def test_uniform_field_is_flat_over_zero_to_one(seed: int) -> None:
    field = _field(seed)
    deviation = 1 / math.sqrt(12 * SIDE**2)
    assert field.min() >= 0.0
    assert field.max() < 1.0
    assert abs(float(field.mean()) - 0.5) < 4 * deviation
    assert float(field.var()) == pytest.approx(1 / 12, rel=0.02)
    assert abs(_chi_square(field)) < 5


@pytest.mark.parametrize("seed", EDGE_SEEDS)
def test_normal_field_has_the_moments_of_a_standard_normal(seed: int) -> None:
    field = normal_field(torch.tensor([seed]), "a", (SIDE, SIDE)).double()
    count = SIDE**2
    assert abs(float(field.mean())) < 4 / math.sqrt(count)
    assert abs(float(field.var()) - 1.0) < 4 * math.sqrt(2 / count)
    assert abs(float((field**3).mean())) < 4 * math.sqrt(15 / count)
    assert abs(float((field**4).mean()) - 3.0) < 4 * math.sqrt(96 / count)
    assert float((field.abs() > 2).double().mean()) == pytest.approx(0.0455, rel=0.08)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_normal_field_gives_as_many_numbers_as_asked(count: int) -> None:
    assert normal_field(torch.tensor([0, 1]), "a", (count, 1)).shape == (2, count, 1)


def test_streams_seeds_and_neighbours_are_uncorrelated() -> None:
    field = _field(5)
    others = {
        "stream": _field(5, "b"),
        "next seed": _field(6),
        "seed that differs in its high word": _field(5 + 2**32),
        "neighbour to the right": field.roll(1, 1),
        "neighbour below": field.roll(1, 0),
    }
    limit = 5 / SIDE
    assert {name: r for name, other in others.items() if abs(r := _correlation(field, other)) > limit} == {}


def test_normal_neighbours_and_halves_of_box_muller_are_uncorrelated() -> None:
    field = normal_field(torch.tensor([3]), "a", (SIDE, SIDE))[0]
    top, bottom = field.chunk(2)
    assert abs(_correlation(top, bottom)) < 5 / SIDE
    assert abs(_correlation(top**2, bottom**2)) < 5 / SIDE
    assert abs(_correlation(field, field.roll(1, 1))) < 5 / SIDE


def test_fields_of_a_sample_do_not_depend_on_the_batch() -> None:
    seeds = torch.tensor(EDGE_SEEDS)
    for index, seed in enumerate(EDGE_SEEDS):
        alone = torch.tensor([seed])
        assert torch.equal(uniform_field(seeds, "a", (3, 5))[index], uniform_field(alone, "a", (3, 5))[0])
        assert torch.equal(normal_field(seeds, "a", (3, 5))[index], normal_field(alone, "a", (3, 5))[0])
        together = smooth_field(seeds, "a", (9, 11))[index]  # a matrix product, which rounds by the batch
        assert torch.allclose(together, smooth_field(alone, "a", (9, 11))[0], atol=1e-6)


def test_unit_draws_are_flat_and_uncorrelated_over_consecutive_seeds() -> None:
    draws = torch.from_numpy(unit_draws(np.arange(40_000), ["a", "b"])).double()
    limit = 5 / math.sqrt(len(draws))
    first, second = draws.unbind(1)
    assert abs(float(first.mean()) - 0.5) < limit
    assert abs(_chi_square(first)) < 5
    assert abs(_correlation(first, second)) < limit
    assert abs(_correlation(first, first.roll(1))) < limit


def test_unit_draws_do_not_depend_on_the_order_of_names_or_seeds(seeds: NDArray[np.int64]) -> None:
    draws = unit_draws(seeds, ["a", "b", "c"])
    assert np.array_equal(draws[:, ::-1], unit_draws(seeds, ["c", "b", "a"]))
    assert np.array_equal(draws[::-1], unit_draws(seeds[::-1], ["a", "b", "c"]))
    assert np.array_equal(draws[1:2, 1:2], unit_draws(seeds[1:2], ["b"]))


def _splitmix64(seed: int, name: str) -> int:
    """Steele, Lea & Flood (2014), in Python's own integers."""
    state = (seed + (zlib.crc32(name.encode()) + 1) * 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


def _lowbias32(value: int) -> int:
    """C. Wellons' hash prospector."""
    value = (value ^ value >> 16) * 0x7FEB352D % 2**32
    value = (value ^ value >> 15) * 0x846CA68B % 2**32
    return value ^ value >> 16


@settings(max_examples=50, deadline=None)
@given(ANY_SEED, st.text(max_size=8), st.integers(0, 500))
def test_numbers_are_those_of_the_published_generators(seed: int, name: str, index: int) -> None:
    bits = _splitmix64(seed, name)
    assert unit_draws(np.array([seed]), [name])[0, 0] == (bits >> 40) * 2.0**-24
    hashed = _lowbias32((bits + index * 0x9E3779B9) % 2**32)
    assert uniform_field(torch.tensor([seed]), name, (501,))[0, index] == (hashed >> 8) * 2.0**-24


@settings(max_examples=50, deadline=None)
@given(ANY_SEED, st.text(max_size=8))
def test_child_seeds_are_seeds_again_and_differ_from_their_parents(seed: int, name: str) -> None:
    child = int(child_seeds(np.array([seed]), name)[0])
    assert 0 <= child < SEED_LIMIT
    assert child != seed


def test_child_seeds_differ_by_name_and_use_the_whole_range() -> None:
    children = child_seeds(np.arange(10_000), "a")
    assert len(np.unique(np.concatenate([children, child_seeds(np.arange(10_000), "b")]))) == 20_000
    assert children.mean() / SEED_LIMIT == pytest.approx(0.5, abs=0.015)
    assert np.array_equal(children[5:6], child_seeds(np.array([5]), "a"))


@settings(max_examples=50, deadline=None)
@given(ANY_SEED, ANY_SEED)
def test_combine_is_order_sensitive_and_in_range(a: int, b: int) -> None:
    assert 0 <= combine(a, b) < SEED_LIMIT
    assert a == b or combine(a, b) != combine(b, a)
    assert combine(a, b) != combine(a)


def test_combine_tells_neighbouring_epochs_ranks_and_workers_apart() -> None:
    combined = {combine(seed, epoch, rank) for seed in range(8) for epoch in range(8) for rank in range(8)}
    assert len(combined) == 8**3


def test_smooth_field_fills_its_size_within_bounds_without_jumps() -> None:
    field = smooth_field(torch.arange(8), "a", (64, 48))
    assert field.shape == (8, 1, 64, 48)
    assert float(field.min()) >= 0.0
    assert float(field.max()) <= 1.0
    assert float(field.std()) > 0.1
    assert float(field.diff(dim=2).abs().max()) < 0.25
    assert smooth_field(torch.arange(2), "a", (1, 1)).isfinite().all()


def test_numbers_are_the_same_as_ever(seeds: NDArray[np.int64]) -> None:
    """A change here breaks the replay of every recorded degradation."""
    assert stream_id("noise/field") == GOLDEN_STREAM
    assert unit_draws(seeds, ["a", "b"]).tolist() == GOLDEN_UNIT
    assert child_seeds(seeds, "a").tolist() == GOLDEN_CHILDREN
    assert combine(1, 2, 3) == GOLDEN_COMBINED
    normal = normal_field(torch.from_numpy(seeds), "a", (2,))
    assert normal.flatten().tolist() == pytest.approx(GOLDEN_NORMAL, abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("field", [uniform_field, normal_field])
def test_fields_are_bit_exact_on_cuda(field: Callable[..., Tensor]) -> None:
    seeds = torch.tensor(EDGE_SEEDS)
    assert torch.equal(field(seeds.cuda(), "a", (64, 63)).cpu(), field(seeds, "a", (64, 63)))
