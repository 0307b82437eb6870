from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from abair_pl.data.augment import Augmentation, Patch

Picture = Callable[..., NDArray[np.uint8]]


def _depth(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A depth that the red of a photograph tells."""
    return pixels[..., 0].astype(np.float32) / np.float32(255.0)


def _turned(patch: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The eight quarter turns and reflections of a patch."""
    turns = [np.rot90(patch, quarter) for quarter in range(4)]
    return turns + [turn[:, ::-1] for turn in turns]


@pytest.mark.parametrize("random", [True, False])
def test_the_seed_alone_decides_the_patch(picture: Picture, random: bool) -> None:
    augmentation = Augmentation(16, random=random)
    first = augmentation(Patch(picture(0)), 5)
    augmentation(Patch(picture(1)), 6)
    again = Augmentation(16, random=random)(Patch(picture(0)), 5)
    assert first.degraded is None
    assert first.depth is None
    assert first.clean.shape == (16, 16, 3)
    assert np.array_equal(first.clean, augmentation(Patch(picture(0)), 5).clean)
    assert np.array_equal(first.clean, again.clean)


def test_different_seeds_give_different_patches(picture: Picture) -> None:
    augmentation = Augmentation(16, random=True)
    patches = {augmentation(Patch(picture(0)), seed).clean.tobytes() for seed in range(50)}
    assert len(patches) > 45


def test_patches_are_turned_in_all_eight_ways(picture: Picture) -> None:
    square = picture(0, 16, 16)
    augmentation = Augmentation(16, random=True)
    found = {augmentation(Patch(square), seed).clean.tobytes() for seed in range(100)}
    assert found == {np.ascontiguousarray(turned).tobytes() for turned in _turned(square)}


def test_a_random_patch_is_part_of_the_photograph(picture: Picture) -> None:
    photograph = picture(0)
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (16, 16), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    for seed in range(10):
        patch = Augmentation(16, random=True)(Patch(photograph), seed).clean
        assert any((windows == turned).all(axis=(2, 3, 4)).any() for turned in _turned(patch))


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("size", [(40, 48), (10, 48), (7, 9)])
def test_both_images_and_the_depth_get_the_same_patch(picture: Picture, random: bool, size: tuple[int, int]) -> None:
    augmentation = Augmentation(16, random=random)
    whole = picture(0, *size)
    for seed in range(10):
        clean, degraded, depth = augmentation(Patch(whole, 255 - whole, _depth(whole)), seed)
        assert degraded is not None
        assert depth is not None
        assert np.array_equal(degraded, 255 - clean)
        assert depth.dtype == np.float32
        assert np.array_equal(depth, _depth(clean))
        assert np.array_equal(clean, augmentation(Patch(whole), seed).clean)


def test_where_a_patch_lies_does_not_tell_how_it_is_turned() -> None:
    """Each step draws from the generator in turn: with a ramp, position and turn of a patch can be read off it."""
    ramp = np.zeros((80, 80, 3), dtype=np.uint8)
    ramp[..., 0], ramp[..., 1] = np.mgrid[0:80, 0:80]
    turns: dict[tuple[bool, bool], set[bytes]] = defaultdict(set)
    for seed in range(600):
        patch = Augmentation(16, random=True)(Patch(ramp), seed).clean[..., :2]
        top, left = patch.min(axis=(0, 1))
        turns[bool(top >= 32), bool(left >= 32)].add((patch - [top, left]).tobytes())
    assert [len(seen) for seen in turns.values()] == [8, 8, 8, 8]


def test_the_centre_is_cut_as_it_is(picture: Picture) -> None:
    patch = Augmentation(16, random=False)(Patch(picture(0)), 9)
    assert np.array_equal(patch.clean, picture(0)[12:28, 16:32])


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (15, 15)])
def test_smaller_images_are_extended_by_reflection(picture: Picture, size: tuple[int, int]) -> None:
    small = picture(0, *size)
    for random in (True, False):
        patch = Augmentation(16, random=random)(Patch(small), 1).clean
        assert patch.shape == (16, 16, 3)
        assert {tuple(pixel) for pixel in patch.reshape(-1, 3)} <= {tuple(pixel) for pixel in small.reshape(-1, 3)}


def test_patches_are_contiguous_and_photographs_unchanged(picture: Picture) -> None:
    photograph = picture(0)
    for seed in range(8):
        patch = Augmentation(16, random=True)(Patch(photograph, photograph, _depth(photograph)), seed)
        for array in patch:
            assert array is not None
            assert array.flags["C_CONTIGUOUS"]
    assert np.array_equal(photograph, picture(0))


def test_seeds_beyond_32_bits_are_fine(picture: Picture) -> None:
    assert Augmentation(16, random=True)(Patch(picture(0)), 2**53 - 1).clean.shape == (16, 16, 3)


def test_whole_images_pass_as_they_are(picture: Picture) -> None:
    whole = Patch(picture(0), picture(1), None)
    assert Augmentation(None, random=False)(whole, 3) == whole
