"""How much each method gains over the input, image by image."""

from collections.abc import Sequence
from math import ceil, floor
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from abair_pl.evaluation.report.columns import marked_labels, measured_tasks
from abair_pl.evaluation.report.plotting import Line, lines, plain_style
from abair_pl.evaluation.results import Results

_BINS = 16
_PANEL_INCHES = (2.3, 0.85)
_MARGIN_INCHES = (0.9, 0.9)


def gain_histograms(results: Results) -> Figure | None:
    """A column for each task and a row for each method, with the same axis down a column; None if nothing was measured.

    A dashed line marks no gain, the number the mean gain.
    """
    suite = results.suite
    tasks, labels, drawn = measured_tasks(results), marked_labels(results), lines(suite.methods)
    methods = [method for method in suite.methods if any(results.of(task, method) for task in tasks)]
    if not tasks:
        return None
    with plain_style():
        size = [
            margin + panel * count
            for margin, panel, count in zip(_MARGIN_INCHES, _PANEL_INCHES, (len(tasks), len(methods)), strict=True)
        ]
        figure = Figure(figsize=(size[0], size[1]), layout="constrained")
        panels = figure.subplots(len(methods), len(tasks), sharex="col", sharey=True, squeeze=False)
        for column, task in enumerate(tasks):
            gains = {method: _gains(results, task, method) for method in methods}
            pooled = [gain for values in gains.values() for gain in values]
            edges = (min(floor(min(pooled)), 0), max(ceil(max(pooled)), 1))
            for row, method in enumerate(methods):
                _panel(panels[row, column], gains[method], edges, drawn[method])
            panels[0, column].set_title(labels[task])
        for row, method in enumerate(methods):
            panels[row, 0].set_ylabel(suite.methods[method].title, rotation=0, ha="right", va="center")
        figure.supxlabel("gain in PSNR over the input, dB")
        figure.supylabel("images")
    return figure


def _gains(results: Results, task: str, method: str) -> list[float]:
    return [record.psnr - record.psnr_input for record in results.of(task, method)]


def _panel(axes: Axes, gains: Sequence[float], edges: tuple[int, int], line: Line) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    axes.axvline(0.0, color="#555555", linestyle="--", linewidth=0.8)
    if gains:
        axes.hist(gains, bins=_BINS, range=edges, color=line.color)
        text = f"{fmean(gains):+.2f} dB"
    else:
        text = "not measured"
    axes.text(0.98, 0.92, text, transform=axes.transAxes, ha="right", va="top", fontsize=8)
