"""``abair-pl benchmark``: a table of the paper as one command."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Literal

from abair_pl.atomic import locked
from abair_pl.errors import InputError
from abair_pl.evaluation.benchmark.examples import read_examples, restore_examples
from abair_pl.evaluation.benchmark.methods import open_methods, parse_bundles
from abair_pl.evaluation.benchmark.processes import Processes
from abair_pl.evaluation.benchmark.records import RecordStore
from abair_pl.evaluation.benchmark.run import Benchmark
from abair_pl.evaluation.benchmark.tasks import find_tasks
from abair_pl.evaluation.report.write import write_report
from abair_pl.evaluation.results import Example, Results
from abair_pl.evaluation.suite import Suite, read_suite
from abair_pl.images import make_folder
from abair_pl.process_group import leaving_process_group
from abair_pl.tiling import Tiling

TILE_PX, OVERLAP_PX = 1536, 192
"""Larger tiles than for ``restore``: most test images are done at once, as others' code does them."""


def benchmark(
    suite: Path,
    output: Path,
    bundle: list[str] | None = None,
    data: Path | None = None,
    photos: Path | None = None,
    allow_partial: bool = False,
    tile_px: int = TILE_PX,
    overlap_px: int = OVERLAP_PX,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    devices: int = 1,
    nodes: int = 1,
) -> None:
    """Measure bundles and classical methods on a suite; write tables, figures and a report. Run it again to go on.

    What was measured is kept in OUTPUT/records and not measured again, as long as images, bundles, protocol and
    version of abair-pl are the same.

    Args:
        suite: The suite, such as configs/benchmark/table1.yaml.
        output: Folder for the results.
        bundle: The bundle; where a suite compares several, NAME=DIR for each. The one that ships with the package if
            left out.
        data: Folder with the data sets, each in the folder that the suite says. A missing one is left out of the table.
        photos: Folder of clean photographs that stand in for missing data sets, degraded as the suite says.
        allow_partial: Accept data sets that have not all their images; the table says so.
        tile_px: Images with a longer side are done in tiles of this side.
        overlap_px: How far neighbouring tiles reach into each other.
        device: auto takes a GPU where there is one.
        devices: Processes on this machine, of a GPU each, or of a core each on a CPU.
        nodes: Machines; started by SLURM or torchrun, with one OUTPUT for all.

    Raises:
        InputError: An option, the suite or a bundle is wrong, or there is nothing to measure.
        AbairError: A process failed, or the results cannot be written.
    """
    places = ImagePlaces(data, photos, allow_partial)
    measure_suite(
        read_suite(suite),
        output,
        parse_bundles(bundle or []),
        places,
        Execution(tile_px, overlap_px, device, devices, nodes),
    )


@dataclass(frozen=True)
class ImagePlaces:
    """Where images are; see :func:`benchmark`."""

    data: Path | None = None
    photos: Path | None = None
    allow_partial: bool = False


@dataclass(frozen=True)
class Execution:
    """How they are restored; see :func:`benchmark`.

    Raises:
        InputError: The overlap is not smaller than half a tile.
    """

    tile_px: int = TILE_PX
    overlap_px: int = OVERLAP_PX
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        Tiling(self.tile_px, self.overlap_px)


def measure_suite(
    suite: Suite, output: Path, bundles: Mapping[str, Path], places: ImagePlaces, execution: Execution
) -> Results | None:
    """As :func:`benchmark`, for a suite and bundles by name.

    Returns:
        What was measured; None in all processes but the first.

    Raises:
        InputError: An option, the suite or a bundle is wrong, or there is nothing to measure.
        AbairError: A process failed, or the results cannot be written.
    """
    tasks, missing_tasks = find_tasks(suite, places.data, places.photos, places.allow_partial)
    make_folder(output)
    processes = Processes(execution.device, execution.devices, execution.nodes)
    first = processes.rank == 0
    store = RecordStore(output, processes.rank)

    def prepare() -> Benchmark:
        if first:
            stack.enter_context(_alone_in(output))
        methods, missing_methods = open_methods(
            suite, bundles, execution.device, execution.tile_px, execution.overlap_px
        )
        return Benchmark(suite, tasks, methods, {**missing_tasks, **missing_methods})

    with ExitStack() as stack:
        stack.enter_context(leaving_process_group())
        stack.enter_context(processes.on_one_thread())
        measured = processes.together(prepare)
        if first:
            _tell(measured)
        jobs = processes.together(lambda: measured.remaining(store))[processes.rank :: processes.count]
        processes.together(lambda: measured.measure(jobs, store, shown=first))
        results = processes.together(lambda: measured.results(store))
        processes.together(lambda: restore_examples(measured, results, output, processes.rank, processes.count))
        if not first:
            return None
        _report(results, read_examples(measured, results, output), output)
        return results


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    try:
        with locked(output, wait=False, tidy=True):
            yield
    except BlockingIOError as error:
        message = f"another benchmark writes to {output}; wait for it, or choose another --output"
        raise InputError(message) from error


def _tell(measured: Benchmark) -> None:
    """Say what will not be as it was asked for."""
    for name, task in measured.tasks.items():
        if task.reason:
            print(f"stand-in: {name}: {task.reason}", flush=True)
    for name, reason in measured.skipped.items():
        print(f"skipped: {name}: {reason}", flush=True)


def _report(results: Results, examples: Sequence[Example], output: Path) -> None:
    written = write_report(results, examples, output)
    table = next(file for file in written if file.name == "table.md")
    speeds = ", ".join(
        f"{method.title} {seconds:.2f}"
        for name, method in results.suite.methods.items()
        if not isnan(seconds := results.seconds_per_megapixel(name))
    )
    print(f"\n{table.read_text()}\nseconds per megapixel, over all runs: {speeds}")
    print(f"written to {output}: {', '.join(str(file.relative_to(output)) for file in written)}")
