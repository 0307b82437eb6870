"""What a benchmark measures: tasks, the columns of a table, and methods, its rows, read from YAML."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from abair_pl.errors import InputError, one_line, unknown_name

MAIN_BUNDLE = "main"
"""The bundle that ``--bundle DIR`` gives, as ``--bundle main=DIR`` does."""


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
        oracle: The adapter that the method ``oracle`` takes; empty where there is no single one.
        protocol: How images are compared, see :mod:`abair_pl.evaluation.protocols`.
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

    @property
    def made_of_photographs(self) -> str | None:
        """What is done to clean photographs that stand in for the data set; None where none can."""
        return self.stand_in or self.degrade


@dataclass(frozen=True)
class Method:
    """A row: a bundle and how its adapters are mixed.

    Attributes:
        title: First cell of the row.
        blend: A blend of ``abair-pl restore``, or ``oracle`` for the adapter of the task.
        bundle: Which of the bundles given by ``--bundle NAME=DIR``.
    """

    title: str
    blend: str = "soft"
    bundle: str = MAIN_BUNDLE


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
        InputError: There are no tasks or methods, or ``main`` is none of them.
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
        if self.main and self.main not in self.methods:
            raise unknown_name(self.main, "main method", self.methods)

    @property
    def main_method(self) -> str:
        """The method whose best and worst images are shown."""
        return self.main or list(self.methods)[-1]


def read_suite(path: Path) -> Suite:
    """Read a suite from YAML, see ``configs/benchmark/``; ``tasks`` may be names of suites beside it that have them.

    Raises:
        InputError: There is no such file, or it is no suite.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Suite, "suite")
    try:
        values = yaml.safe_load(path.read_text())
        if isinstance(values["tasks"], list):
            others = [yaml.safe_load(path.with_name(name).read_text()) for name in values["tasks"]]
            values["tasks"] = {name: task for other in others for name, task in other["tasks"].items()}
        found = parser.parse_object({"suite": values})
        suite: Suite = parser.instantiate_classes(found).suite
    except InputError as error:
        message = f"{path}: {error}"
        raise InputError(message) from error
    except (OSError, UnicodeError, yaml.YAMLError, ArgumentError, TypeError, LookupError) as error:
        message = f"{path} is no suite ({one_line(str(error))}); expected YAML as in configs/benchmark/table1.yaml"
        raise InputError(message) from error
    return suite
