"""What a benchmark measures: tasks, the columns of a table, and methods, its rows, read from YAML."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from abair_pl.errors import InputError, one_line, unknown_name
from abair_pl.evaluation.published import published_table

MAIN_BUNDLE = "main"
"""The bundle that ``--bundle DIR`` gives, as ``--bundle main=DIR`` does."""

_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError, ArgumentError)


@dataclass(frozen=True)
class Task:
    """A column: where its images come from, and how they are compared.

    Attributes:
        title: Heading, such as ``Deraining``.
        dataset: What the paper measured on, such as ``Rain100L``.
        layout: The data set's folder structure, of those that ``abair-pl shards layouts`` lists.
        root: Its folder in ``--data``.
        split: Part of the data set; the customary one if left out.
        only: Only samples whose name starts so, such as ``haze_snow/`` of CDD-11.
        degrade: What is done to each image, in the grammar: to clean photographs, or to the degraded ones of pairs.
        stand_in: What is done to the clean photographs of ``--photos`` where those stand in for the data set;
            ``degrade`` if left out.
        oracle: The degradation: the adapter that the method ``oracle`` takes, and what classical methods have to be
            for to be measured; empty where there is no single one.
        protocol: How images are compared, see :mod:`abair_pl.evaluation.protocols`.
        comparable: Whether these are the images of the published figures; the table marks the column if not.
    """

    title: str
    dataset: str
    layout: str
    root: str
    split: str | None = None
    only: str = ""
    degrade: str | None = None
    stand_in: str | None = None
    oracle: str = ""
    protocol: str = "rgb"
    comparable: bool = True

    @property
    def made_of_photographs(self) -> str | None:
        """What is done to clean photographs that stand in for the data set; None where none can."""
        return self.stand_in or self.degrade


@dataclass(frozen=True)
class Method:
    """A row: a bundle and how its adapters are mixed, or a classical method.

    Attributes:
        title: First cell of the row.
        blend: A blend of ``abair-pl restore``, or ``oracle`` for the adapter of the task.
        bundle: Which of the bundles given by ``--bundle NAME=DIR``.
        classical: A method of :mod:`abair_pl.evaluation.classical.registry`, instead of ``blend`` and ``bundle``.
    """

    title: str
    blend: str = "soft"
    bundle: str = MAIN_BUNDLE
    classical: str = ""


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
        title: Heading of the table.
        tasks: By a short name, in the order of the columns.
        methods: By a short name, in the order of the rows.
        published: The paper's table whose rows are shown above ours, or several joined by ``+``; empty for none.
        main: The method whose best and worst images are shown; the last one if left out.
        seed: Of the degradations.

    Raises:
        InputError: There are no tasks or methods, a name cannot be a file's, a title has control characters, ``main``
            is no method, or ``published`` no table.
    """

    title: str
    tasks: dict[str, Task]
    methods: dict[str, Method]
    published: str = ""
    main: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.tasks or not self.methods:
            message = f"suite '{self.title}' has {len(self.tasks)} tasks and {len(self.methods)} methods; expected some"
            raise InputError(message)
        for name in (*self.tasks, *self.methods):
            if not re.fullmatch(r"\w[\w.-]*", str(name)):
                message = f"a task or method is called '{name}'; expected letters, digits, '_', '-' and '.'"
                raise InputError(message)
        titles = [*(task.title for task in self.tasks.values()), *(method.title for method in self.methods.values())]
        for title in (self.title, *titles):
            if not title.isprintable():
                message = f"a title is {title!r}; expected a single line without control characters"
                raise InputError(message)
        if self.main and self.main not in self.methods:
            raise unknown_name(self.main, "main method", self.methods)
        if self.published:
            published_table(self.published)

    @property
    def main_method(self) -> str:
        """The method whose best and worst images are shown."""
        return self.main or list(self.methods)[-1]

    def shown_method(self, measured: Collection[str]) -> str:
        """The main method, or the last one of those that were measured where it was not."""
        if self.main_method in measured:
            return self.main_method
        return next((name for name in reversed(self.methods) if name in measured), self.main_method)


def read_suite(path: Path) -> Suite:
    """Read a suite from YAML, see ``configs/benchmark/``.

    ``tasks`` may be names of suites beside it that have them, ``methods`` the name of one.

    Raises:
        InputError: There is no such file, or it is no suite.
    """
    if not path.is_file():
        message = f"no suite at {path}; expected a file such as configs/benchmark/table1.yaml of the repository"
        raise InputError(message)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Suite, "suite")
    try:
        values = yaml.safe_load(path.read_text())
        if isinstance(values["tasks"], list):
            values["tasks"] = _tasks_of([path.parent / name for name in values["tasks"]])
        if isinstance(values["methods"], str):
            values["methods"] = yaml.safe_load((path.parent / values["methods"]).read_text())["methods"]
        _check_methods(values["methods"])
        found = parser.parse_object({"suite": values})
        suite: Suite = parser.instantiate_classes(found).suite
    except InputError as error:
        message = f"{path}: {error}"
        raise InputError(message) from error
    except _DAMAGE as error:
        message = f"{path} is no suite ({one_line(str(error))}); expected YAML as in configs/benchmark/table1.yaml"
        raise InputError(message) from error
    return suite


def _check_methods(methods: Mapping[str, Mapping[str, object]]) -> None:
    """Raise :class:`InputError` for a method that is both a bundle's and a classical one."""
    for name, method in methods.items():
        both = sorted(method.keys() & {"blend", "bundle"})
        if "classical" in method and both:
            message = f"method {name} has classical and {' and '.join(both)}; expected classical alone, or without it"
            raise InputError(message)


def _tasks_of(files: Sequence[Path]) -> dict[str, object]:
    """The tasks of several suites, as YAML has them."""
    tasks: dict[str, object] = {}
    for file in files:
        for name, task in yaml.safe_load(file.read_text())["tasks"].items():
            if name in tasks:
                message = f"two of the suites have a task '{name}'; expected different names"
                raise InputError(message)
            tasks[name] = task
    return tasks
