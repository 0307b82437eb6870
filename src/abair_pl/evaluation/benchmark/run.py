"""Measure methods on tasks: each image once over all processes, and none twice over all runs."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from tqdm import tqdm

from abair_pl.errors import AbairError, ImageError, InputError
from abair_pl.evaluation.benchmark.methods import Restorer
from abair_pl.evaluation.benchmark.records import RecordStore, RecordWriter
from abair_pl.evaluation.benchmark.tasks import TaskImages
from abair_pl.evaluation.pairs import PairSource
from abair_pl.evaluation.results import Record, Results
from abair_pl.evaluation.suite import Suite


@dataclass(frozen=True)
class Cell:
    """One number of the table: a task by a method."""

    task: str
    method: str


class Benchmark:
    """A suite with its images and bundles, ready to be measured.

    Args:
        suite: What was asked for.
        tasks: Those whose images are there.
        methods: Those whose bundle or package is there.
        missing: By task or method, why it is left out.

    Raises:
        InputError: There is nothing to measure.
    """

    def __init__(
        self,
        suite: Suite,
        tasks: Mapping[str, TaskImages],
        methods: Mapping[str, Restorer],
        missing: Mapping[str, str],
    ) -> None:
        self.suite = suite
        self.tasks = tasks
        self.methods = methods
        self.skipped = dict(missing)
        self.cells: list[Cell] = []
        for task in tasks:
            for method, restorer in methods.items():
                if not restorer.is_for(tasks[task].task.oracle):
                    continue
                try:
                    restorer.check(tasks[task].task.oracle, tasks[task].made)
                    self.cells.append(Cell(task, method))
                except AbairError as error:
                    self.skipped[f"{method} on {task}"] = str(error)
        if not self.cells:
            told = [f"{name}: {reason}" for name, reason in self.skipped.items()] or ["no method is for these tasks"]
            message = f"there is nothing to measure ({'; '.join(told)}); expected images, and a bundle for them"
            raise InputError(message)

    def digest(self, cell: Cell, source: PairSource) -> str:
        """A digest of all that shapes what a method makes of an image, and how that is measured."""
        task = self.tasks[cell.task]
        parts = (self.methods[cell.method].key, task.key(source), task.task.oracle)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def key(self, cell: Cell, source: PairSource) -> str:
        """What the record of an image is found by."""
        return f"{cell.task} {cell.method} {source.image} {self.digest(cell, source)}"

    def source(self, task: str, image: str) -> PairSource:
        """Where an image of a task comes from."""
        return next(source for source in self.tasks[task].sources if source.image == image)

    def jobs(self) -> Iterator[tuple[str, PairSource, list[Cell]]]:
        """The images of all tasks in their order, each with the cells that it counts for."""
        for name, task in self.tasks.items():
            mine = [cell for cell in self.cells if cell.task == name]
            for source in task.sources:
                yield name, source, mine

    def remaining(self, store: RecordStore) -> list[tuple[str, PairSource, dict[Cell, str]]]:
        """The images that no run has measured by all methods yet, each with the keys of what is missing.

        Raises:
            AbairError: A file cannot be read.
        """
        done = store.read().keys()
        jobs = (
            (name, source, {cell: key for cell in cells if (key := self.key(cell, source)) not in done})
            for name, source, cells in self.jobs()
        )
        return [job for job in jobs if job[2]]

    def measure(
        self, jobs: Sequence[tuple[str, PairSource, dict[Cell, str]]], store: RecordStore, shown: bool = True
    ) -> None:
        """Measure images.

        Args:
            jobs: Of :meth:`remaining`.
            store: Where records are kept.
            shown: Whether to show how far this is.

        Raises:
            AbairError: An image cannot be read or measured, or a record not be written.
        """
        with store.writing() as writer, tqdm(jobs, unit="image", desc=self.suite.title, disable=not shown) as progress:
            for name, source, keys in progress:
                try:
                    self._measure(name, source, keys, writer)
                except ImageError as error:
                    message = f"task {name}, image {source.clean}: {error}"
                    raise ImageError(message) from error

    def _measure(self, name: str, source: PairSource, keys: Mapping[Cell, str], writer: RecordWriter) -> None:
        task, pair = self.tasks[name], source.load()
        before = task.protocol.measure(pair.degraded, pair.clean)
        for cell, key in keys.items():
            start = time.perf_counter()
            result, unknown = self.methods[cell.method].restore(pair.degraded, task.task.oracle, pair.plan)
            seconds = time.perf_counter() - start
            after = task.protocol.measure(result.restored, pair.clean)
            megapixels = pair.clean[0].numel() / 1e6
            values = (*before, *after, result.weights, unknown, seconds, megapixels)
            writer.add(key, Record(name, cell.method, source.image, *values))

    def results(self, store: RecordStore) -> Results:
        """All that was measured.

        Raises:
            AbairError: Something was not, as another process failed.
        """
        found = store.read()
        wanted = [(cell, source) for cell in self.cells for source in self.tasks[cell.task].sources]
        keys = [self.key(cell, source) for cell, source in wanted]
        lost = [key for key in keys if key not in found]
        if lost:
            message = f"{len(lost)} of {len(keys)} records are missing in {store.folder}; run the same command again"
            raise AbairError(message)
        return Results(
            suite=self.suite,
            records=[found[key] for key in keys],
            sources={name: task.text for name, task in self.tasks.items()},
            stand_ins=frozenset(name for name, task in self.tasks.items() if task.stands_in),
            skipped=self.skipped,
            protocols={name: asdict(task.protocol) for name, task in self.tasks.items()},
            facts={
                **{each.source: each.facts for each in self.methods.values()},
                "run": "; ".join(dict.fromkeys(each.run for each in self.methods.values())),
            },
            parameters={
                name: number
                for name in dict.fromkeys(cell.method for cell in self.cells)
                if (number := self.methods[name].parameters) is not None
            },
        )
