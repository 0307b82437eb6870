from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from abair_pl.evaluation.report.radar import LOWEST_RING, RINGS, measured_radar, published_radar, ring_positions
from abair_pl.evaluation.results import Results

ALL = {"deraining", "denoising", "deblurring", "low_light"}


def axes_of(figure: Figure | None) -> PolarAxes:
    assert figure is not None
    (axes,) = figure.axes
    assert isinstance(axes, PolarAxes)
    return axes


def series(figure: Figure | None) -> dict[str, list[float]]:
    return {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes_of(figure).lines}


def without_records(results: Results, task: str, method: str | None = None) -> Results:
    kept = [record for record in results.records if record.task != task or (method and record.method != method)]
    return replace(results, records=kept)


@given(
    st.integers(1, 6).flatmap(
        lambda width: st.lists(st.lists(st.floats(5, 60), min_size=width, max_size=width), min_size=1)
    )
)
def test_lowest_is_on_the_second_ring_and_highest_on_the_outermost(values: list[list[float]]) -> None:
    for before, after in zip(zip(*values, strict=True), zip(*ring_positions(values), strict=True), strict=True):
        if min(before) == max(before):
            assert set(after) == {RINGS}
        else:
            assert after[before.index(min(before))] == LOWEST_RING
            assert after[before.index(max(before))] == RINGS
            ordered = [ring for _, ring in sorted(zip(before, after, strict=True))]
            assert ordered == sorted(ordered)


def test_one_polygon_for_the_input_and_each_method(results: Results) -> None:
    found = series(measured_radar(results))
    assert list(found) == ["input", "phase I", "SW", "Oracle"]
    assert all(len(rings) == 5 and rings[0] == rings[-1] for rings in found.values())
    assert found["Oracle"][0] == RINGS
    assert found["input"][0] == LOWEST_RING


def test_axes_are_the_measured_tasks_with_their_range(results: Results) -> None:
    labels = [label.get_text() for label in axes_of(measured_radar(results)).get_xticklabels()]
    assert [label.split("\n")[0] for label in labels] == ["Deraining†", "Denoising", "Deblurring", "Low light†"]
    worst, best = results.input_score("denoising"), results.score("denoising", "oracle")
    assert worst is not None
    assert best is not None
    assert labels[1].split("\n")[1] == f"{worst.psnr:.2f} to {best.psnr:.2f} dB"


def test_circles_are_the_rings(results: Results) -> None:
    axes = axes_of(measured_radar(results))
    assert list(axes.get_yticks()) == [1, 2, 3, 4, 5]
    assert axes.get_ylim() == (0, RINGS)


def test_method_that_lacks_a_task_is_left_out(results: Results) -> None:
    found = series(measured_radar(without_records(results, "denoising", "none")))
    assert list(found) == ["input", "SW", "Oracle"]


def test_two_tasks_make_no_plot(results: Results) -> None:
    three = without_records(results, "deraining")
    assert measured_radar(three) is not None
    assert measured_radar(without_records(three, "low_light")) is None


def test_published_methods_are_drawn_only_on_the_papers_data(results: Results) -> None:
    assert published_radar(results) is None  # two of the four are stand-ins
    found = series(published_radar(replace(results, stand_ins=frozenset({"low_light"}))))
    assert {"input", "SW", "Restormer", "PromptIR", "DiffUIR", "ABAIR SW (paper)"} <= found.keys()
    assert all(len(rings) == 4 for rings in found.values())
    assert "ABAIR Oracle (paper)" not in found


@pytest.mark.parametrize("name", ["", "table7"])
def test_no_published_plot_where_nothing_is_published_on_all_axes(results: Results, name: str) -> None:
    suite = replace(results.suite, published=name)
    assert published_radar(replace(results, suite=suite, stand_ins=frozenset())) is None


def test_published_methods_are_dotted(results: Results) -> None:
    lines = {
        str(line.get_label()): line for line in axes_of(published_radar(replace(results, stand_ins=frozenset()))).lines
    }
    assert lines["Restormer"].get_linestyle() == ":"
    assert lines["SW"].get_linestyle() == "-"
