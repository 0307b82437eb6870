from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from abair_pl.data.augment import Augmentation
from abair_pl.errors import ShardError

Picture = Callable[..., NDArray[np.uint8]]


def _turned(patch: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The eight quarter turns and reflections of a patch."""
    turns = [np.rot90(patch, quarter) for quarter in range(4)]
    return turns + [turn[:, ::-1] for turn in turns]


@pytest.mark.parametrize("random", [True, False])
def test_the_seed_alone_decides_the_patch(picture: Picture, random: bool) -> None:
    augmentation = Augmentation(16, random=random)
    first, partner = augmentation(picture(0), None, 5)
    augmentation(picture(1), None, 6)
    again, _ = Augmentation(16, random=random)(picture(0), None, 5)
    assert partner is None
    assert first.shape == (16, 16, 3)
    assert np.array_equal(first, augmentation(picture(0), None, 5)[0])
    assert np.array_equal(first, again)


def test_different_seeds_give_different_patches(picture: Picture) -> None:
    augmentation = Augmentation(16, random=True)
    patches = {augmentation(picture(0), None, seed)[0].tobytes() for seed in range(50)}
    assert len(patches) > 45


def test_patches_are_turned_in_all_eight_ways(picture: Picture) -> None:
    square = picture(0, 16, 16)
    augmentation = Augmentation(16, random=True)
    found = {augmentation(square, None, seed)[0].tobytes() for seed in range(100)}
    assert found == {np.ascontiguousarray(turned).tobytes() for turned in _turned(square)}


def test_a_random_patch_is_part_of_the_photograph(picture: Picture) -> None:
    photograph = picture(0)
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (16, 16), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    for seed in range(10):
        patch, _ = Augmentation(16, random=True)(photograph, None, seed)
        assert any((windows == turned).all(axis=(2, 3, 4)).any() for turned in _turned(patch))


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("size", [(40, 48), (10, 48), (7, 9)])
def test_both_images_of_a_pair_get_the_same_patch(picture: Picture, random: bool, size: tuple[int, int]) -> None:
    augmentation = Augmentation(16, random=random)
    for seed in range(10):
        clean, degraded = augmentation(picture(0, *size), 255 - picture(0, *size), seed)
        assert degraded is not None
        assert np.array_equal(degraded, 255 - clean)
        assert np.array_equal(clean, augmentation(picture(0, *size), None, seed)[0])


def test_the_centre_is_cut_as_it_is(picture: Picture) -> None:
    patch, _ = Augmentation(16, random=False)(picture(0), None, 9)
    assert np.array_equal(patch, picture(0)[12:28, 16:32])


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (15, 15)])
def test_smaller_images_are_extended_by_reflection(picture: Picture, size: tuple[int, int]) -> None:
    small = picture(0, *size)
    for random in (True, False):
        patch, _ = Augmentation(16, random=random)(small, None, 1)
        assert patch.shape == (16, 16, 3)
        assert {tuple(pixel) for pixel in patch.reshape(-1, 3)} <= {tuple(pixel) for pixel in small.reshape(-1, 3)}


def test_patches_are_contiguous_and_photographs_unchanged(picture: Picture) -> None:
    photograph = picture(0)
    for seed in range(8):
        patch, partner = Augmentation(16, random=True)(photograph, photograph, seed)
        assert partner is not None
        assert patch.flags["C_CONTIGUOUS"]
        assert partner.flags["C_CONTIGUOUS"]
    assert np.array_equal(photograph, picture(0))


def test_seeds_beyond_32_bits_are_fine(picture: Picture) -> None:
    assert Augmentation(16, random=True)(picture(0), None, 2**53 - 1)[0].shape == (16, 16, 3)


def test_an_unequal_pair_is_refused(picture: Picture) -> None:
    with pytest.raises(ShardError, match=r"a pair has sizes \(40, 32\) and \(40, 48\); expected the same"):
        Augmentation(16, random=True)(picture(0), picture(0, 40, 32), 0)
