"""Images to look at: of each task the worst, the median and the best by what the main method gains."""

from pathlib import Path

from abair_pl.errors import AbairError
from abair_pl.evaluation.benchmark.run import Benchmark
from abair_pl.evaluation.pairs import PairSource
from abair_pl.evaluation.results import Example, Record, Results
from abair_pl.images import Photograph, make_folder, read_photograph, write_photograph

_FOLDER = "examples"


def choose_examples(results: Results) -> list[tuple[str, Record]]:
    """What kind of example each is, and the main method's record of it, or the last one's where the main one has none.

    Where a task has fewer than three images, there are fewer examples.
    """
    chosen: list[tuple[str, Record]] = []
    for task in results.sources:
        measured = [method for method in results.suite.methods if results.of(task, method)]
        ranked = sorted(
            results.of(task, results.suite.shown_method(measured)),
            key=lambda record: (record.psnr - record.psnr_input, record.image),
        )
        if ranked:
            places = {0: "worst", len(ranked) // 2: "median", len(ranked) - 1: "best"}
            chosen += [(kind, ranked[place]) for place, kind in places.items()]
    return chosen


def restore_examples(benchmark: Benchmark, results: Results, output: Path, rank: int = 0, processes: int = 1) -> None:
    """Restore this process's share of the chosen images by every method, unless an earlier run has.

    Results are kept as ``examples/<task>/<image>/<method>-<digest>.png``; those of another bundle have another digest.

    Args:
        benchmark: Restores them.
        results: What was measured.
        output: The folder of the benchmark.
        rank: Of this process.
        processes: How many share the images.
    """
    for _, record in choose_examples(results)[rank::processes]:
        source = benchmark.source(record.task, record.image)
        files = _files(benchmark, source, record.task, output)
        missing = {method: file for method, file in files.items() if not _is_there(file)}
        if missing:
            pair = source.load()
            folder = next(iter(files.values())).parent
            make_folder(folder)
            write_photograph(Photograph(pair.degraded), folder / "input.png")
            write_photograph(Photograph(pair.clean), folder / "clean.png")
            for method, file in missing.items():
                oracle = benchmark.tasks[record.task].task.oracle
                made, _ = benchmark.methods[method].restore(pair.degraded, oracle, pair.plan)
                write_photograph(Photograph(made.restored), file)


def read_examples(benchmark: Benchmark, results: Results, output: Path) -> list[Example]:
    """The chosen images with what :func:`restore_examples` of all processes has made of them."""
    examples = []
    for kind, record in choose_examples(results):
        source = benchmark.source(record.task, record.image)
        pair = source.load()
        files = _files(benchmark, source, record.task, output)
        restored = {method: read_photograph(file).pixels for method, file in files.items()}
        psnr = {"input": record.psnr_input}
        psnr |= {each.method: each.psnr for each in results.records if _is_of(each, record)}
        examples.append(Example(record.task, record.image, kind, pair.degraded, pair.clean, restored, psnr))
    return examples


def _files(benchmark: Benchmark, source: PairSource, task: str, output: Path) -> dict[str, Path]:
    """Where each method's result of an image is kept."""
    folder = output / _FOLDER / task / source.image.replace("/", "_")
    cells = [cell for cell in benchmark.cells if cell.task == task]
    return {cell.method: folder / f"{cell.method}-{benchmark.digest(cell, source)[:12]}.png" for cell in cells}


def _is_there(file: Path) -> bool:
    """Whether an earlier run has left a whole image."""
    try:
        read_photograph(file)
    except AbairError:
        return False
    return True


def _is_of(record: Record, other: Record) -> bool:
    return (record.task, record.image) == (other.task, other.image)
