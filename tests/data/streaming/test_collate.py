from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from abair_pl.batch import PhotoBatch, Position
from abair_pl.data.augment import Patch
from abair_pl.data.streaming.collate import PhotoSample, collate
from abair_pl.errors import ShardError

Picture = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def samples(picture: Picture) -> list[PhotoSample]:
    """Three pairs, the last a filler."""
    pairs = [(picture(index, 8, 8), picture(index + 9, 8, 8)) for index in range(3)]
    return [PhotoSample(Patch(*pair), f"k{index}", 2**53 - 1 - index, index < 2) for index, pair in enumerate(pairs)]


def test_arrays_become_one_batch(samples: list[PhotoSample]) -> None:
    batch = collate(samples)
    assert batch.clean.shape == (3, 3, 8, 8)
    assert batch.clean.dtype == torch.uint8
    assert batch.degraded is not None
    for index, sample in enumerate(samples):
        assert sample.patch.degraded is not None
        assert np.array_equal(batch.clean[index].permute(1, 2, 0).numpy(), sample.patch.clean)
        assert np.array_equal(batch.degraded[index].permute(1, 2, 0).numpy(), sample.patch.degraded)
    assert batch.keys == ("k0", "k1", "k2")
    assert batch.seeds.tolist() == [2**53 - 1, 2**53 - 2, 2**53 - 3]
    assert batch.valid.tolist() == [True, True, False]


def test_single_photographs_have_no_partners(picture: Picture) -> None:
    batch = collate([PhotoSample(Patch(picture(0)), "k", 1)])
    assert batch.degraded is None
    assert batch.damages == ()


def test_photographs_go_between_pairs_that_say_what_they_show(samples: list[PhotoSample], picture: Picture) -> None:
    named = [replace(samples[0], damage="sleet"), PhotoSample(Patch(picture(7, 8, 8)), "k", 1)]
    batch = collate([*named, replace(samples[1], damage="rain")])
    assert batch.damages == ("sleet", None, "rain")
    assert batch.degraded is not None
    same = (batch.degraded == batch.clean).flatten(1).all(dim=1)
    assert same.tolist() == [False, True, False]


def test_photographs_do_not_go_between_pairs_of_anything(samples: list[PhotoSample], picture: Picture) -> None:
    assert collate(samples).damages == ("", "", "")
    with pytest.raises(ShardError, match=r"mix single photographs and pairs of no known degradation; expected .* NAME"):
        collate([*samples, PhotoSample(Patch(picture(0, 8, 8)), "k", 1)])


def test_a_batch_moves_its_images_and_keeps_its_seeds_on_the_host(samples: list[PhotoSample]) -> None:
    moved = collate(samples).to(torch.device("meta"))
    assert isinstance(moved, PhotoBatch)
    assert moved.degraded is not None
    assert {moved.clean.device.type, moved.degraded.device.type, moved.valid.device.type} == {"meta"}
    assert moved.seeds.device.type == "cpu"


def test_depth_is_nan_where_a_sample_has_none(picture: Picture) -> None:
    depth = np.full((8, 8), 0.25, dtype=np.float32)
    samples = [PhotoSample(Patch(picture(0, 8, 8), None, own), "k", 1) for own in (depth, None)]
    batch = collate(samples)
    assert batch.depth is not None
    assert batch.depth.shape == (2, 1, 8, 8)
    assert batch.depth.dtype == torch.float32
    assert (batch.depth[0] == 0.25).all()
    assert batch.depth[1].isnan().all()
    moved = batch.to(torch.device("meta"))
    assert moved.depth is not None
    assert moved.depth.device.type == "meta"
    assert collate(samples[1:]).depth is None


def test_a_batch_stands_where_its_last_sample_does(picture: Picture) -> None:
    positions = [Position(1, drawn, ((0, drawn),)) for drawn in (3, 4)]
    samples = [PhotoSample(Patch(picture(0)), "k", 1, position=position, broken=2) for position in positions]
    batch = collate(samples)
    assert batch.position == positions[1]
    assert batch.broken == 4
