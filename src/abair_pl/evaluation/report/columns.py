"""A benchmark's columns: which were measured, and what they are called."""

from collections import Counter

from abair_pl.evaluation.results import Results

DAGGER = "\N{DAGGER}"
"""Marks a column whose images are not the paper's."""


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
