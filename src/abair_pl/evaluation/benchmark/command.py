"""``abair-pl benchmark``: a table of the paper as one command."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from lightning.fabric import Fabric

from abair_pl.atomic import locked
from abair_pl.errors import InputError
from abair_pl.evaluation.benchmark.examples import read_examples, restore_examples
from abair_pl.evaluation.benchmark.methods import open_methods, parse_bundles
from abair_pl.evaluation.benchmark.records import RecordStore
from abair_pl.evaluation.benchmark.results import Example, Results
from abair_pl.evaluation.benchmark.run import Benchmark
from abair_pl.evaluation.benchmark.suite import Suite, read_suite
from abair_pl.evaluation.benchmark.tasks import find_tasks
from abair_pl.evaluation.report.write import write_report
from abair_pl.images import make_folder

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
    """Measure bundles on a suite and write tables, figures and a report; run it again to go on after an interruption.

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
        devices: Processes on this machine, of a GPU each where there are any.
        nodes: Machines; started by SLURM or torchrun, with one OUTPUT for all.

    Raises:
        InputError: An option, the suite or a bundle is wrong, or there is nothing to measure.
        AbairError: A process failed, or the results cannot be written.
    """
    bundles = parse_bundles(bundle or [])
    measure_suite(
        read_suite(suite), output, bundles, data, photos, allow_partial, tile_px, overlap_px, device, devices, nodes
    )


def measure_suite(
    suite: Suite,
    output: Path,
    bundles: Mapping[str, Path],
    data: Path | None = None,
    photos: Path | None = None,
    allow_partial: bool = False,
    tile_px: int = TILE_PX,
    overlap_px: int = OVERLAP_PX,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    devices: int = 1,
    nodes: int = 1,
) -> list[Results]:
    """As :func:`benchmark`, for a suite and bundles by name.

    Returns:
        What was measured, in the first process; nothing in the others.

    Raises:
        InputError: An option, the suite or a bundle is wrong, or there is nothing to measure.
        AbairError: A process failed, or the results cannot be written.
    """
    tasks, missing_tasks = find_tasks(suite, data, photos, allow_partial)
    if not tasks:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing_tasks.items())
        message = f"no task of '{suite.title}' has images ({reasons}); expected --data with data sets, or --photos"
        raise InputError(message)
    make_folder(output)
    strategy = "ddp" if devices * nodes > 1 else "auto"
    fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy)
    fabric.launch()
    with ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(_alone_in(output))
        methods, missing_methods = open_methods(suite, bundles, device, tile_px, overlap_px)
        measured = Benchmark(suite, tasks, methods, {**missing_tasks, **missing_methods})
        if fabric.is_global_zero:
            for name, reason in measured.skipped.items():
                print(f"skipped: {name}: {reason}", flush=True)
        store = RecordStore(output, fabric.global_rank)
        measured.measure(store, fabric.global_rank, fabric.world_size)
        fabric.barrier()
        results = measured.results(store)
        restore_examples(measured, results, output, fabric.global_rank, fabric.world_size)
        fabric.barrier()
        if not fabric.is_global_zero:
            return []
        _report(results, read_examples(measured, results, output), output)
        return [results]


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    try:
        with locked(output, wait=False, tidy=True):
            yield
    except BlockingIOError as error:
        message = f"another benchmark writes to {output}; wait for it, or choose another --output"
        raise InputError(message) from error


def _report(results: Results, examples: Sequence[Example], output: Path) -> None:
    written = write_report(results, examples, output)
    table = next(file for file in written if file.name == "table.md")
    print(f"\n{table.read_text()}\nwritten to {output}: {', '.join(file.name for file in written)}")
