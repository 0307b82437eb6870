"""The paper's Figure 1: one axis a task, one polygon a method."""

from collections.abc import Mapping, Sequence
from math import pi, sin

from matplotlib.figure import Figure

from abair_pl.evaluation.published import published_table
from abair_pl.evaluation.report.columns import marked_labels, measured_tasks
from abair_pl.evaluation.report.plotting import INPUT_LINE, Line, lines, plain_style
from abair_pl.evaluation.results import Results

RINGS = 5
LOWEST_RING = 2
_MIN_AXES = 3
_LEGEND_COLUMNS = 3
_UPRIGHT = 0.1  # sine of the angle to the vertical up to which an axis' label is centred above or below it
_COMPARED = ("Restormer", "PromptIR", "DiffUIR", "ABAIR SW (paper)", "ABAIR SW* (paper)")  # Figure 1's


def measured_radar(results: Results) -> Figure | None:
    """The input and each method on the tasks that were measured; None where those are fewer than three.

    A method that was not measured on all of them is left out.
    """
    return _radar(results, measured_tasks(results), {})


def published_radar(results: Results) -> Figure | None:
    """The same beside published methods, on the tasks that were measured on the paper's own data.

    Returns:
        None where there are fewer than three such tasks, or nothing is published on all of them.
    """
    suite = results.suite
    if not suite.published:
        return None
    table = published_table(suite.published)
    comparable = table.datasets.keys() - results.stand_ins
    tasks = [task for task in measured_tasks(results) if task in comparable]
    rows = [row for row in table.rows if row.method in _COMPARED and row.scores.keys() >= set(tasks)]
    published = {row.method: [row.scores[task].psnr for task in tasks] for row in rows}
    return _radar(results, tasks, published) if published else None


def ring_positions(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Where the values of each method lie on each axis, in rings from the centre.

    The lowest of an axis is on the second ring and the highest on the outermost; where all are equal, so are they.

    Args:
        values: By method, one for each axis.

    Examples:
        >>> ring_positions([[20.0, 0.5], [30.0, 0.5], [25.0, 0.5]])
        [[2.0, 5.0], [5.0, 5.0], [3.5, 5.0]]
    """
    lows, highs = ([pick(axis) for axis in zip(*values, strict=True)] for pick in (min, max))
    scale = RINGS - LOWEST_RING
    return [
        [
            LOWEST_RING + scale * (value - low) / (high - low) if high > low else float(RINGS)
            for value, low, high in zip(row, lows, highs, strict=True)
        ]
        for row in values
    ]


def _radar(results: Results, tasks: Sequence[str], published: Mapping[str, Sequence[float]]) -> Figure | None:
    suite = results.suite
    if len(tasks) < _MIN_AXES:
        return None
    series: dict[str, tuple[Line, Sequence[float]]] = {}
    inputs = [results.input_score(task) for task in tasks]
    series["input"] = (INPUT_LINE, [score.psnr for score in inputs if score is not None])
    drawn = lines([*suite.methods, *published])
    for name, method in suite.methods.items():
        scores = [score.psnr for task in tasks if (score := results.score(task, name)) is not None]
        if len(scores) == len(tasks):
            series[method.title] = (drawn[name], scores)
    series |= {title: (Line(drawn[title].color, ":"), psnrs) for title, psnrs in published.items()}
    labels = marked_labels(results)
    return _drawn([labels[task] for task in tasks], series)


def _drawn(titles: Sequence[str], series: Mapping[str, tuple[Line, Sequence[float]]]) -> Figure:
    angles = [2 * pi * index / len(titles) for index in range(len(titles))]
    values = [psnrs for _, psnrs in series.values()]
    with plain_style():
        figure = Figure(figsize=(6.0, 5.2), layout="constrained")
        axes = figure.add_subplot(projection="polar", theta_offset=pi / 2, theta_direction=-1)
        axes.set_ylim(0, RINGS)
        axes.set_yticks(range(1, RINGS + 1), [""] * RINGS)
        ranges = [f"{min(axis):.2f} to {max(axis):.2f} dB" for axis in zip(*values, strict=True)]
        axes.set_xticks(angles, [f"{title}\n{span}" for title, span in zip(titles, ranges, strict=True)])
        for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
            label.set_horizontalalignment("center" if abs(sin(angle)) < _UPRIGHT else "left" if angle < pi else "right")
        axes.grid(color="#d0d0d0", linewidth=0.7)
        axes.spines["polar"].set_color("#d0d0d0")
        for (title, (line, _)), rings in zip(series.items(), ring_positions(values), strict=True):
            closed = [*zip(angles, rings, strict=True), (angles[0], rings[0])]
            where = zip(*closed, strict=True)
            axes.plot(*where, color=line.color, linestyle=line.dash, marker=".", label=title, clip_on=False)
        figure.legend(loc="outside lower center", frameon=False, ncols=_LEGEND_COLUMNS)
    return figure
