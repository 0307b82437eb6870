import numpy as np
import pytest
from numpy.typing import NDArray

from abair_pl.degradations.cutmix import MAX_REGIONS, Layout, draw_layout, uniform_layout
from abair_pl.degradations.random import SEED_LIMIT

SEEDS = np.arange(3000)
LABELS = 6


def _counts(layout: Layout) -> NDArray[np.int64]:
    """Regions of each sample."""
    return np.bincount(layout.sample)


def _whole_labels(layout: Layout) -> NDArray[np.int64]:
    """Labels of the samples with one region."""
    single = _counts(layout) == 1
    return layout.label[single[layout.sample]]


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_share_of_samples_with_regions(probability: float) -> None:
    counts = _counts(draw_layout(SEEDS, LABELS, probability, (2, 4), 0.0))
    assert len(counts) == len(SEEDS)
    assert float((counts > 1).mean()) == pytest.approx(probability, abs=0.03 if 0 < probability < 1 else 0.0)


@pytest.mark.parametrize("regions", [(2, 2), (2, 3), (3, 4), (4, 4)])
def test_number_of_regions_is_even_over_its_range(regions: tuple[int, int]) -> None:
    counts = _counts(draw_layout(SEEDS, LABELS, 1.0, regions, 0.0))
    values, shares = np.unique(counts, return_counts=True)
    assert values.tolist() == list(range(regions[0], regions[1] + 1))
    assert (shares / len(SEEDS)).tolist() == pytest.approx([1 / len(values)] * len(values), abs=0.04)


def test_regions_are_no_more_than_there_are_labels() -> None:
    layout = draw_layout(SEEDS[:50], 2, 1.0, (2, MAX_REGIONS), 0.0)
    assert set(_counts(layout)) == {2}


def test_labels_of_one_sample_are_all_different_and_all_occur() -> None:
    layout = draw_layout(SEEDS, LABELS, 1.0, (2, 4), 0.0)
    pairs = set(zip(layout.sample.tolist(), layout.label.tolist(), strict=True))
    assert len(pairs) == len(layout.sample)
    shares = np.bincount(layout.label, minlength=LABELS) / len(layout.label)
    assert shares.tolist() == pytest.approx([1 / LABELS] * LABELS, abs=0.02)


@pytest.mark.parametrize("clean_probability", [0.0, 0.25, 1.0])
def test_share_of_whole_samples_that_stay_clean(clean_probability: float) -> None:
    labels = _whole_labels(draw_layout(SEEDS, LABELS, 0.5, (2, 4), clean_probability))
    tolerance = 0.05 if 0 < clean_probability < 1 else 0.0
    assert float((labels == 0).mean()) == pytest.approx(clean_probability, abs=tolerance)


def test_whole_samples_get_every_degradation_equally() -> None:
    labels = _whole_labels(draw_layout(SEEDS, LABELS, 0.0, (2, 4), 0.0))
    shares = np.bincount(labels, minlength=LABELS) / len(labels)
    assert shares.tolist() == pytest.approx([0.0] + [0.2] * 5, abs=0.03)


def test_boxes_cover_everything_first_and_then_part_of_it() -> None:
    layout = draw_layout(SEEDS, LABELS, 1.0, (2, 4), 0.0)
    assert (layout.box[layout.order == 0] == [0.0, 0.0, 1.0, 1.0]).all()
    left, top, right, bottom = layout.box[layout.order > 0].T
    for low, high in ((left, right), (top, bottom)):
        assert 0.0 <= low.min() < 0.01
        assert 0.99 < high.max() <= 1.0 + 1e-6
        assert 0.3 - 1e-6 <= (high - low).min() < 0.31
        assert 0.79 < (high - low).max() <= 0.8 + 1e-6


def test_every_region_has_its_own_seed() -> None:
    layout = draw_layout(SEEDS, LABELS, 1.0, (2, 4), 0.0)
    assert len(np.unique(layout.seed)) == len(layout.seed)
    assert 0 <= layout.seed.min() <= layout.seed.max() < SEED_LIMIT


def test_a_samples_layout_does_not_depend_on_the_batch() -> None:
    layout = draw_layout(SEEDS[:40], LABELS, 0.5, (2, 4), 0.2)
    for index in range(40):
        alone = draw_layout(SEEDS[index : index + 1], LABELS, 0.5, (2, 4), 0.2)
        mine = layout.sample == index
        assert np.array_equal(alone.label, layout.label[mine])
        assert np.array_equal(alone.box, layout.box[mine])
        assert np.array_equal(alone.seed, layout.seed[mine])


def test_uniform_layout_is_one_whole_region_a_sample() -> None:
    layout = uniform_layout(SEEDS[:3], 2)
    assert layout.sample.tolist() == [0, 1, 2]
    assert layout.label.tolist() == [2, 2, 2]
    assert (layout.box == [0.0, 0.0, 1.0, 1.0]).all()
    assert np.array_equal(layout.seed, draw_layout(SEEDS[:3], 3, 0.0, (2, 2), 0.0).seed)
