from dataclasses import replace

from abair_pl.evaluation.report.columns import DAGGER, column_labels, marked_labels, measured_tasks
from abair_pl.evaluation.results import Results


def without(results: Results, *tasks: str) -> Results:
    kept = {name: task for name, task in results.suite.tasks.items() if name not in tasks}
    return replace(results, suite=replace(results.suite, tasks=kept))


def test_skipped_tasks_are_not_measured(results: Results) -> None:
    assert measured_tasks(results) == ["deraining", "denoising", "deblurring", "low_light"]


def test_labels_are_titles(results: Results) -> None:
    assert column_labels(results)["deraining"] == "Deraining"


def test_same_titles_are_told_by_their_data_sets(results: Results) -> None:
    tasks = dict(results.suite.tasks)
    tasks["deblurring"] = replace(tasks["deblurring"], title="Deraining")
    labels = column_labels(replace(results, suite=replace(results.suite, tasks=tasks)))
    assert (labels["deraining"], labels["deblurring"]) == ("Deraining, Rain100L", "Deraining, GoPro")
    assert labels["denoising"] == "Denoising"


def test_stand_ins_are_marked(results: Results) -> None:
    labels = marked_labels(results)
    assert [name for name, label in labels.items() if label.endswith(DAGGER)] == ["deraining", "low_light"]
