"""An ablation's table: means and standard deviations over seeds, the published figures below them."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from abair_pl.evaluation.ablation.variants import Ablation
from abair_pl.evaluation.published import PublishedRow, published_table
from abair_pl.evaluation.report.columns import DAGGER, marked_labels
from abair_pl.evaluation.report.table import MISSING, PUBLISHED_HEADING
from abair_pl.evaluation.results import Results, Score


@dataclass(frozen=True)
class Spread:
    """A measure over seeds.

    Attributes:
        values: One for each seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the sample; None for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def text(self, digits: int) -> str:
        """As ``28.31 ± 0.12``."""
        deviation = "" if self.deviation is None else f" ± {self.deviation:.{digits}f}"
        return f"{self.mean:.{digits}f}{deviation}"


def spreads(results: Sequence[Results], variant: str) -> dict[str, dict[str, Spread]]:
    """PSNR and SSIM of a variant, by task and as ``average``; without what was not measured for all seeds.

    Args:
        results: One for each seed.
        variant: Its short name.
    """
    scores = {task: [each.score(task, variant) for each in results] for task in results[0].sources}
    scores["average"] = [each.average(variant) for each in results]
    return {name: spread for name, found in scores.items() if (spread := _spread(found))}


def _spread(scores: Sequence[Score | None]) -> dict[str, Spread]:
    present = [score for score in scores if score is not None]
    if len(present) < len(scores):
        return {}
    return {
        "psnr": Spread(tuple(score.psnr for score in present)),
        "ssim": Spread(tuple(score.ssim for score in present)),
    }


def ablation_values(
    ablation: Ablation, results: Sequence[Results], seeds: Sequence[int], scale: str
) -> dict[str, object]:
    """What ``ablation.json`` holds: for each variant and task the values, mean and deviation of PSNR and SSIM.

    Args:
        ablation: What was compared.
        results: One for each seed.
        seeds: The seeds.
        scale: What the runs were like, in words.
    """
    rows = {
        name: {
            task: {
                kind: {"values": list(spread.values), "mean": spread.mean, "deviation": spread.deviation}
                for kind, spread in kinds.items()
            }
            for task, kinds in spreads(results, name).items()
        }
        for name in ablation.variants
    }
    measured = {"sources": dict(results[0].sources), "skipped": dict(results[0].skipped)}
    return {"title": ablation.title, "scale": scale, "seeds": list(seeds), **measured, "variants": rows}


def ablation_markdown(ablation: Ablation, results: Sequence[Results], seeds: Sequence[int], scale: str) -> str:
    """The table in Markdown, with what it was measured on.

    Args:
        ablation: What was compared.
        results: One for each seed.
        seeds: The seeds.
        scale: What the runs were like, in words.
    """
    labels = marked_labels(results[0])
    header = ["", *labels.values(), "PSNR", "SSIM"]
    lines = [header, ["---"] * len(header), *_rows(ablation, results)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    notes = "\n".join(f"- {note}" for note in _notes(ablation, results[0]))
    count = f"{len(seeds)} seeds ({', '.join(map(str, seeds))})" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    about = f"PSNR in dB, the last two columns over all tasks; mean ± standard deviation over {count}. {scale}"
    return f"## {ablation.title}\n\n{table}\n\n{about}\n\n{notes}\n"


def _rows(ablation: Ablation, results: Sequence[Results]) -> Iterator[list[str]]:
    """Each variant, and below all of them the published rows that they stand for."""
    tasks = results[0].suite.tasks
    for name, variant in ablation.variants.items():
        found = spreads(results, name)
        cells = [found[task]["psnr"].text(2) if task in found else MISSING for task in tasks]
        whole = found.get("average")
        yield [variant.title, *cells, *([whole["psnr"].text(2), whole["ssim"].text(4)] if whole else [MISSING] * 2)]
    named = [variant.published for variant in ablation.variants.values() if variant.published]
    if named:
        table = published_table(ablation.published)
        rows = {row.method: row for row in table.rows}
        yield [f"**{PUBLISHED_HEADING}**", *[""] * (len(tasks) + 2)]
        for method in dict.fromkeys(named):
            yield _published_cells(rows[method], list(tasks), table.datasets.keys() == tasks.keys())


def _published_cells(row: PublishedRow, tasks: Sequence[str], comparable: bool) -> list[str]:
    """A row of the paper's; its average only where that is over these tasks."""
    cells = [f"{row.scores[task].psnr:.2f}" if task in row.scores else MISSING for task in tasks]
    average = row.average if comparable else None
    psnr = MISSING if average is None else f"{average.psnr:.2f}"
    ssim = MISSING if average is None or average.ssim is None else f"{average.ssim:.3f}"
    return [row.method, *cells, psnr, ssim]


def _notes(ablation: Ablation, results: Results) -> Iterator[str]:
    """What was measured on, and what was not."""
    for name, task in results.suite.tasks.items():
        if name in results.sources:
            yield f"{marked_labels(results)[name]}: {results.sources[name]}, protocol {task.protocol}"
    yield from (f"skipped: {name}: {reason}" for name, reason in results.skipped.items())
    if any(variant.published for variant in ablation.variants.values()):
        yield f"{DAGGER} other images than the paper's; the published rows are of its data, size and training"
