import pytest
import torch

from abair_pl.evaluation.report.region import Region, most_changed
from abair_pl.evaluation.results import Example


def example(height: int = 40, width: int = 60) -> Example:
    """The method ``a`` changes a square of 8 pixels at (20, 33), the clean image one at (3, 5)."""
    degraded = torch.full((3, height, width), 0.5)
    restored, clean = degraded.clone(), degraded.clone()
    restored[:, 20:28, 33:41] = 0.9
    clean[:, 3:11, 5:13] = 0.1
    return Example("task", "image", "best", degraded, clean, {"a": restored}, {"input": 20.0, "a": 25.0})


def test_square_with_the_largest_change_is_found() -> None:
    assert most_changed(example(), "a", 8) == Region(20, 33, 8, 8)


def test_change_of_the_clean_image_counts_where_the_method_restored_nothing() -> None:
    assert most_changed(example(), "b", 8) == Region(3, 5, 8, 8)


@pytest.mark.parametrize("change", [-0.4, 0.4])
def test_darker_and_brighter_count_the_same(change: float) -> None:
    made = example()
    restored = made.degraded.clone()
    restored[:, 30:38, 50:58] += change
    found = most_changed(Example("t", "i", "best", made.degraded, made.clean, {"a": restored}, {}), "a", 8)
    assert found == Region(30, 50, 8, 8)


def test_square_is_cut_to_a_small_image() -> None:
    found = most_changed(example(), "a", 50)
    assert (found.top, found.height, found.width) == (0, 40, 50)
    assert most_changed(example(), "a", 100) == Region(0, 0, 40, 60)


def test_region_takes_its_pixels() -> None:
    image = torch.arange(3 * 4 * 5).view(3, 4, 5)
    assert torch.equal(Region(1, 2, 2, 3).of(image), image[:, 1:3, 2:5])
