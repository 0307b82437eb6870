"""A benchmark's columns: which were measured, what they are called, and what the input reaches in them."""

from collections import Counter
from math import fsum

from abair_pl.evaluation.benchmark.results import Results, Score

DAGGER = "\N{DAGGER}"
"""Marks a column whose images stand in for the paper's."""


def measured_tasks(results: Results) -> list[str]:
    """The tasks with at least one image, in the order of the suite."""
    return [task for task in results.suite.tasks if results.input_score(task) is not None]


def column_labels(results: Results) -> dict[str, str]:
    """A name for each task that no other has: its title, with the data set where titles are the same."""
    tasks = results.suite.tasks
    uses = Counter(task.title for task in tasks.values())
    return {
        name: task.title if uses[task.title] == 1 else f"{task.title}, {task.dataset}" for name, task in tasks.items()
    }


def marked_labels(results: Results) -> dict[str, str]:
    """The same, with a dagger where the images stand in for the paper's."""
    return {name: label + DAGGER * (name in results.stand_ins) for name, label in column_labels(results).items()}


def input_average(results: Results) -> Score | None:
    """The mean of the degraded images over all tasks; None where one of them was not measured."""
    scores = [score for task in results.suite.tasks if (score := results.input_score(task)) is not None]
    if len(scores) < len(results.suite.tasks):
        return None
    count = len(scores)
    return Score(fsum(each.psnr for each in scores) / count, fsum(each.ssim for each in scores) / count, count)
