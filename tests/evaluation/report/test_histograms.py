from dataclasses import replace

import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from abair_pl.evaluation.report.histograms import gain_histograms
from abair_pl.evaluation.results import Results

IMAGES = 5


def panels(results: Results) -> list[Axes]:
    figure = gain_histograms(results)
    assert figure is not None
    return figure.axes


def counts(axes: Axes) -> list[float]:
    return [patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]


def test_a_column_for_each_measured_task_and_a_row_for_each_method(results: Results) -> None:
    found = panels(results)
    assert len(found) == 4 * 3
    assert [axes.get_title() for axes in found[:4]] == ["Deraining†", "Denoising", "Deblurring", "Low light†"]
    assert [axes.get_ylabel() for axes in found[::4]] == ["phase I", "SW", "Oracle"]


def test_every_image_is_counted(results: Results) -> None:
    assert all(sum(counts(axes)) == IMAGES for axes in panels(results))


def test_mean_gain_is_written(results: Results) -> None:
    gains = [record.psnr - record.psnr_input for record in results.of("deblurring", "none")]
    assert max(gains) < 0.0
    (text,) = panels(results)[2].texts
    assert text.get_text() == f"{sum(gains) / len(gains):+.2f} dB"


def test_columns_share_their_axis_which_holds_all_gains(results: Results) -> None:
    found = panels(results)
    gains = [record.psnr - record.psnr_input for record in results.records if record.task == "deblurring"]
    for axes in found[2::4]:
        low, high = axes.get_xlim()
        assert low <= min(gains) < max(gains) <= high
        assert low <= 0.0 <= high


def test_panel_of_a_method_that_lacks_a_task_says_so(results: Results) -> None:
    kept = [record for record in results.records if (record.task, record.method) != ("denoising", "soft")]
    axes = panels(replace(results, records=kept))[4 + 1]
    assert axes.texts[0].get_text() == "not measured"
    assert not counts(axes)


def test_method_without_results_has_no_row_and_the_others_keep_their_colours(results: Results) -> None:
    rest = [record for record in results.records if record.method != "none"]
    before, after = panels(results), panels(replace(results, records=rest))
    assert len(after) == 4 * 2
    assert before[4].patches[0].get_facecolor() == after[0].patches[0].get_facecolor()


def test_equal_gains_can_be_drawn(results: Results) -> None:
    level = [replace(record, psnr=record.psnr_input) for record in results.records]
    assert all(sum(counts(axes)) == IMAGES for axes in panels(replace(results, records=level)))


def test_nothing_measured_is_no_figure(results: Results) -> None:
    assert gain_histograms(replace(results, records=[])) is None


@pytest.mark.parametrize("gain", [-30.0, 80.0])
def test_extreme_gains_are_counted(results: Results, gain: float) -> None:
    records = [replace(record, psnr=record.psnr_input + gain) for record in results.records]
    assert all(sum(counts(axes)) == IMAGES for axes in panels(replace(results, records=records)))
