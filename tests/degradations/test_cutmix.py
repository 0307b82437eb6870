from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from abair_pl.degradations.cutmix import (
    MAX_REGIONS,
    SHAPES,
    Layout,
    LayoutConfig,
    coverage,
    draw_layout,
    uniform_layout,
)
from abair_pl.degradations.random import SEED_LIMIT, smooth_field

SEEDS = np.arange(3000)
CPU = torch.device("cpu")
WHOLE, RECTANGLE, SMOOTH = range(3)


def _drawn(**changes: Any) -> Layout:
    """Layouts of five degradations, all samples with regions."""
    return draw_layout(SEEDS, LayoutConfig(**{"degradations": 5, "cutmix_probability": 1.0, **changes}))


def _counts(layout: Layout) -> NDArray[np.int64]:
    """Regions of each sample."""
    return np.bincount(layout.sample)


def _whole_sources(layout: Layout) -> NDArray[np.int64]:
    """Sources of the samples with one region."""
    single = _counts(layout) == 1
    return layout.source[single[layout.sample]]


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_share_of_samples_with_regions(probability: float) -> None:
    counts = _counts(_drawn(cutmix_probability=probability))
    assert len(counts) == len(SEEDS)
    assert float((counts > 1).mean()) == pytest.approx(probability, abs=0.03 if 0 < probability < 1 else 0.0)


@pytest.mark.parametrize("regions", [(2, 2), (2, 3), (3, 4), (4, 4), (2, 4)])
def test_number_of_regions_is_even_over_its_range(regions: tuple[int, int]) -> None:
    values, shares = np.unique(_counts(_drawn(cutmix_regions=regions)), return_counts=True)
    assert values.tolist() == list(range(regions[0], regions[1] + 1))
    assert (shares / len(SEEDS)).tolist() == pytest.approx([1 / len(values)] * len(values), abs=0.04)


def test_regions_are_no_more_than_there_are_sources() -> None:
    assert set(_counts(_drawn(degradations=1, cutmix_regions=(2, MAX_REGIONS)))) == {2}


def test_sources_of_one_sample_are_all_different_and_clean_is_among_them() -> None:
    layout = _drawn()
    pairs = set(zip(layout.sample.tolist(), layout.source.tolist(), strict=True))
    assert len(pairs) == len(layout.sample)
    shares = np.bincount(layout.source, minlength=6) / len(layout.source)
    assert shares.tolist() == pytest.approx([1 / 6] * 6, abs=0.02)


@pytest.mark.parametrize("clean_probability", [0.0, 0.25, 1.0])
def test_share_of_whole_samples_that_stay_clean(clean_probability: float) -> None:
    sources = _whole_sources(_drawn(cutmix_probability=0.5, clean_probability=clean_probability))
    tolerance = 0.05 if 0 < clean_probability < 1 else 0.0
    assert float((sources == 0).mean()) == pytest.approx(clean_probability, abs=tolerance)


def test_whole_samples_get_every_degradation_equally() -> None:
    sources = _whole_sources(_drawn(cutmix_probability=0.0))
    shares = np.bincount(sources, minlength=6) / len(sources)
    assert shares.tolist() == pytest.approx([0.0] + [0.2] * 5, abs=0.03)


def test_frequencies_weigh_whole_samples() -> None:
    sources = _whole_sources(_drawn(cutmix_probability=0.0, frequencies=(1.0, 1.0, 2.0, 4.0, 2.0)))
    shares = np.bincount(sources, minlength=6) / len(sources)
    assert shares.tolist() == pytest.approx([0.0, 0.1, 0.1, 0.2, 0.4, 0.2], abs=0.03)


def test_frequencies_weigh_regions_which_stay_different() -> None:
    layout = _drawn(cutmix_regions=(2, 2), frequencies=(0.5, 0.5, 0.5, 3.0, 0.5))
    pairs = set(zip(layout.sample.tolist(), layout.source.tolist(), strict=True))
    assert len(pairs) == len(layout.sample)
    shares = np.bincount(layout.source[layout.order == 0], minlength=6) / len(SEEDS)
    assert shares.tolist() == pytest.approx([1 / 6, *[1 / 12] * 3, 3 / 6, 1 / 12], abs=0.03)


def test_equal_frequencies_change_no_draw() -> None:
    plain, weighed = _drawn(), _drawn(frequencies=(3.0,) * 5)
    assert (plain.source == weighed.source).all()


@pytest.mark.parametrize("cutmix_probability", [0.0, 1.0])
def test_composites_take_their_share_of_what_is_degraded(cutmix_probability: float) -> None:
    layout = _drawn(cutmix_probability=cutmix_probability, composites=2, composite_probability=0.3)
    degraded = layout.source[layout.source > 0]
    assert float((degraded > 5).mean()) == pytest.approx(0.3, abs=0.03)
    found = np.bincount(degraded[degraded > 5] - 6) / (degraded > 5).sum()
    assert found.tolist() == pytest.approx([0.5, 0.5], abs=0.06)
    plain = _drawn(cutmix_probability=cutmix_probability, composites=2, composite_probability=0.0)
    assert plain.source.max() == 5
    assert np.array_equal(plain.source == 0, layout.source == 0)


@pytest.mark.parametrize("smooth_probability", [0.0, 0.4, 1.0])
def test_share_of_upper_regions_that_are_smooth(smooth_probability: float) -> None:
    layout = _drawn(smooth_probability=smooth_probability)
    assert (layout.shape[layout.order == 0] == WHOLE).all()
    upper = layout.shape[layout.order > 0]
    assert set(upper) <= {RECTANGLE, SMOOTH}
    tolerance = 0.03 if 0 < smooth_probability < 1 else 0.0
    assert float((upper == SMOOTH).mean()) == pytest.approx(smooth_probability, abs=tolerance)


def test_boxes_lie_within_the_image_and_vary_in_size() -> None:
    layout = _drawn()
    left, top, right, bottom = layout.box[layout.order > 0].T
    for low, high in ((left, right), (top, bottom)):
        assert 0.0 <= low.min() < 0.01
        assert 0.99 < high.max() <= 1.0 + 1e-6
        assert 0.3 - 1e-6 <= (high - low).min() < 0.31
        assert 0.79 < (high - low).max() <= 0.8 + 1e-6


def test_smooth_masks_vary_from_hard_to_soft() -> None:
    layout = _drawn(smooth_probability=1.0)
    assert 0.4 <= layout.level.min() < 0.41 < 0.59 < layout.level.max() <= 0.6
    assert 0.02 <= layout.softness.min() < 0.021 < 0.19 < layout.softness.max() <= 0.2


def test_every_region_has_its_own_seed() -> None:
    layout = _drawn()
    assert len(np.unique(layout.seed)) == len(layout.seed)
    assert 0 <= layout.seed.min() <= layout.seed.max() < SEED_LIMIT


def test_a_samples_layout_does_not_depend_on_the_batch() -> None:
    config = LayoutConfig(5, 1, 0.5, (2, 4), 0.5, 0.2, 0.2)
    layout = draw_layout(SEEDS[:40], config)
    for index in range(40):
        alone = draw_layout(SEEDS[index : index + 1], config)
        mine = layout.sample == index
        for column in ("order", "source", "seed", "shape", "box", "level", "softness"):
            assert np.array_equal(getattr(alone, column), getattr(layout, column)[mine])


def test_a_layout_comes_back_from_its_records() -> None:
    layout = _drawn(smooth_probability=0.5)
    names = [f"source {index}" for index in range(6)]
    records = [
        [
            {"source": names[layout.source[region]], **layout.record(int(region))}
            for region in np.flatnonzero(layout.sample == sample)
        ]
        for sample in range(50)
    ]
    back = Layout.from_records(records, {name: index for index, name in enumerate(names)})
    order = np.concatenate([np.flatnonzero(layout.sample == sample) for sample in range(50)])
    regions = np.arange(len(order))
    for column in ("sample", "order", "source", "seed", "shape"):
        assert np.array_equal(getattr(back, column), getattr(layout, column)[order])
    size = (33, 47)
    assert torch.equal(coverage(back, regions, size, CPU), coverage(layout, order, size, CPU))


def test_records_name_what_their_shape_needs() -> None:
    layout = _drawn(smooth_probability=0.5)
    keys = {SHAPES[layout.shape[region]]: set(layout.record(region)) for region in range(len(layout.shape))}
    assert keys == {
        "whole": {"seed", "shape"},
        "rectangle": {"seed", "shape", "box"},
        "smooth": {"seed", "shape", "level", "softness"},
    }


def test_uniform_layout_is_one_whole_region_for_each_sample() -> None:
    layout = uniform_layout(SEEDS[:7], 3)
    assert layout.sample.tolist() == list(range(7))
    assert (layout.source == 3).all()
    assert (layout.order == 0).all()
    assert (layout.shape == WHOLE).all()
    drawn = draw_layout(SEEDS[:7], LayoutConfig(degradations=1))
    assert np.array_equal(layout.seed, drawn.seed), "a whole sample looks the same however it was chosen"


def test_rectangles_cover_the_pixels_whose_centres_they_hold() -> None:
    layout = _drawn(smooth_probability=0.0)
    regions = np.flatnonzero(layout.shape == RECTANGLE)[:30]
    height, width = size = (23, 31)
    for region, found in zip(regions, coverage(layout, regions, size, CPU).numpy(), strict=True):
        left, top, right, bottom = layout.box[region]
        for row in range(height):
            for column in range(width):
                x, y = (column + 0.5) / width, (row + 0.5) / height
                assert found[row, column] == float(left <= x < right and top <= y < bottom)


def test_whole_regions_cover_everything() -> None:
    layout = uniform_layout(SEEDS[:2], 1)
    assert (coverage(layout, np.arange(2), (5, 6), CPU) == 1.0).all()


def test_smooth_masks_are_fields_cut_at_their_level() -> None:
    layout = _drawn(smooth_probability=1.0)
    regions = np.flatnonzero(layout.shape == SMOOTH)[:20]
    masks = coverage(layout, regions, (40, 48), CPU)
    for region, mask in zip(regions, masks, strict=True):
        field = smooth_field(torch.tensor([layout.seed[region]]), "cutmix/mask", (40, 48), octaves=2)[0, 0].double()
        expected = ((field - float(layout.level[region])) / float(layout.softness[region]) + 0.5).clamp(0, 1)
        assert torch.allclose(mask.double(), expected, atol=1e-5)
    assert float(masks.min()) == 0.0
    assert float(masks.max()) == 1.0
    soft = (masks > 0.0) & (masks < 1.0)
    assert 0.05 < float(soft.float().mean()) < 0.7
    assert 0.25 < float(masks.mean()) < 0.75


@pytest.mark.parametrize("size", [(9, 11), (40, 48), (75, 151)], ids=str)
def test_masks_do_not_depend_on_the_batch(size: tuple[int, int]) -> None:
    layout = _drawn(smooth_probability=0.7)
    regions = np.arange(24)
    together = coverage(layout, regions, size, CPU)
    alone = torch.cat([coverage(layout, regions[i : i + 1], size, CPU) for i in range(24)])
    assert torch.equal(together, alone)
