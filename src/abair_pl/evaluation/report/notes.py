"""What a reader of a benchmark's table has to know, in sentences."""

from collections.abc import Iterator

from abair_pl.evaluation.classical.registry import classical_method
from abair_pl.evaluation.published import PublishedTable
from abair_pl.evaluation.report.columns import DAGGER, column_labels, measured_tasks
from abair_pl.evaluation.results import Results


def table_notes(results: Results, published: PublishedTable | None) -> Iterator[str]:
    """The notes, in the order in which they are printed.

    Args:
        results: Of the benchmark.
        published: The paper's table above the rows, or None.
    """
    yield "PSNR in dB and SSIM are means over images, the average that of all columns. Bold: the best measured here."
    if published is not None:
        yield from _published_notes(results, published)
    yield from _task_notes(results)
    yield from _method_notes(results)
    if len(measured_tasks(results)) < len(results.suite.tasks):
        yield "No average is given here, since not all columns were measured."


def _task_notes(results: Results) -> Iterator[str]:
    measured, labels = measured_tasks(results), column_labels(results)
    for name, task in results.suite.tasks.items():
        if name not in measured:
            yield _left_out(f"{task.title} ({task.dataset})", results.skipped.get(name))
        elif name in results.stand_ins:
            yield f"{DAGGER} {labels[name]}: {results.sources[name]}, protocol {task.protocol}."
        else:
            yield f"{labels[name]} was measured on {results.sources[name]}, protocol {task.protocol}."


def _method_notes(results: Results) -> Iterator[str]:
    """What was left out, with tasks that one reason goes for in one sentence."""
    labels = column_labels(results)
    for name, method in results.suite.methods.items():
        if name in results.skipped:
            yield _left_out(method.title, results.skipped[name])
            continue
        purpose = None
        if method.classical:
            classical = classical_method(method.classical)
            purpose = classical.degradations
            yield (
                f"{method.title} is for {' and '.join(purpose)} alone, and learns nothing: {classical.summary}; "
                f"{classical.knowledge}."
            )
        tasks: dict[str | None, list[str]] = {}
        for task in labels:
            meant = purpose is None or results.suite.tasks[task].oracle in purpose
            if meant and task not in results.skipped and not results.of(task, name):
                tasks.setdefault(results.skipped.get(f"{name} on {task}"), []).append(labels[task])
        for reason, where in tasks.items():
            yield _left_out(f"{method.title} on {', '.join(where)}", reason)


def _left_out(what: str, reason: str | None) -> str:
    return f"{what} was not measured." if reason is None else f"{what} was skipped: {reason.removesuffix('.')}."


def _published_notes(results: Results, table: PublishedTable) -> Iterator[str]:
    titles = {name: task.title for name, task in results.suite.tasks.items()}
    places = ((titles[name], dataset) for name, dataset in table.datasets.items() if name in titles)
    datasets = ", ".join(title if title == dataset else f"{title} {dataset}" for title, dataset in places)
    yield f"Published rows are the paper's own figures ({table.title}), not measured here: {table.source}. {datasets}."
    yield "The source does not name the protocol of the published rows."
    yield from table.notes
    if any(row.average for row in table.rows) and titles.keys() != table.datasets.keys():
        yield "The published averages are over other columns than these, and are left out."
