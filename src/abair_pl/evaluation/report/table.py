"""The table of a benchmark: the paper's published rows, then the input and what was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass

from abair_pl.evaluation.published import PublishedRow, PublishedScore, PublishedTable, published_table
from abair_pl.evaluation.report.columns import DAGGER, measured_tasks
from abair_pl.evaluation.report.notes import table_notes
from abair_pl.evaluation.results import Results, Score
from abair_pl.evaluation.suite import Task

MISSING = "\N{EM DASH}"
PUBLISHED_HEADING = "published: the paper's data, the paper's sizes"


@dataclass(frozen=True)
class Column:
    """A task, or the average.

    Attributes:
        title: First line of the heading.
        dataset: Second line: what the paper measured on.
        stand_in: Whether what was measured here stands in for that.
    """

    title: str
    dataset: str = ""
    stand_in: bool = False


@dataclass(frozen=True)
class Cell:
    """A number.

    Attributes:
        text: The number, or a dash.
        best: Whether it is the best of its section's.
    """

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A method, or the input.

    Attributes:
        title: Its name.
        cells: PSNR and SSIM for each column.
        parameters: Such as ``2.5M``; empty for the input.
    """

    title: str
    cells: tuple[tuple[Cell, Cell], ...]
    parameters: str


@dataclass(frozen=True)
class Section:
    """Rows that may be compared with one another.

    Attributes:
        heading: Whose they are, and of what.
        rows: From top to bottom.
        published: Whether they are the paper's.
    """

    heading: str
    rows: tuple[Row, ...]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """All that a table shows, in no markup.

    Attributes:
        title: Above it.
        columns: The tasks and the average.
        sections: From top to bottom.
        notes: Below it.
    """

    title: str
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]


def results_table(results: Results) -> Table:
    """The table of a benchmark.

    Raises:
        InputError: The suite names a table that the paper does not have.
    """
    suite = results.suite
    published = published_table(suite.published) if suite.published else None
    columns = [Column(task.title, task.dataset, name in results.stand_ins) for name, task in suite.tasks.items()]
    sections = [Section(_heading(results, published), _measured_rows(results))]
    if published is not None:
        rows = tuple(_published_row(row, published, suite.tasks) for row in published.rows)
        sections.insert(0, Section(PUBLISHED_HEADING, rows, published=True))
    notes = table_notes(results, published)
    return Table(suite.title, (*columns, Column("Average")), tuple(sections), tuple(notes))


def size(parameters: int) -> str:
    """A number of parameters, as the paper writes it.

    Examples:
        >>> size(2_512_000), size(59_300_000), size(246_000)
        ('2.5M', '59M', '0.25M')
    """
    millions = parameters / 1e6
    return f"{millions:.0f}M" if millions >= 9.95 else f"{millions:.2g}M"


def _heading(results: Results, published: PublishedTable | None) -> str:
    """Says in what the rows below differ from the paper's."""
    sizes = [size(number) for number in sorted(results.parameters.values())]
    facts = []
    if sizes:
        text = f"{' to '.join(dict.fromkeys((sizes[0], sizes[-1])))} parameters"
        other = published is not None and set(sizes) != {published.model_parameters}
        facts.append(f"another size ({text})" if other else text)
    if results.stand_ins:
        everywhere = results.stand_ins.issuperset(measured_tasks(results))
        facts.append(f"other data than the paper's{'' if everywhere else ' in columns with ' + DAGGER}")
    return "measured here" + (f": {', '.join(facts)}" if facts else "")


def _measured_rows(results: Results) -> tuple[Row, ...]:
    tasks = results.suite.tasks
    titles, sizes = ["input"], [""]
    scores: list[list[Score | None]] = [[*(results.input_score(task) for task in tasks), results.input_average()]]
    for name, method in results.suite.methods.items():
        titles.append(method.title)
        sizes.append(size(results.parameters[name]) if name in results.parameters else MISSING)
        scores.append([*(results.score(task, name) for task in tasks), results.average(name)])
    columns = [_best_marked(column) for column in zip(*scores, strict=True)]
    return tuple(Row(*row) for row in zip(titles, zip(*columns, strict=True), sizes, strict=True))


def _best_marked(scores: Sequence[Score | None]) -> list[tuple[Cell, Cell]]:
    """The cells of a column; what is equal in the digits that are shown is equally good."""
    cells = [_cells(score) for score in scores]
    present = [(psnr, ssim) for psnr, ssim in cells if psnr.text != MISSING]
    if not present:
        return cells
    best = [max((cell.text for cell in kind), key=float) for kind in zip(*present, strict=True)]
    return [(Cell(psnr.text, psnr.text == best[0]), Cell(ssim.text, ssim.text == best[1])) for psnr, ssim in cells]


def _published_row(row: PublishedRow, table: PublishedTable, tasks: dict[str, Task]) -> Row:
    """A row of the paper's in the suite's columns; its average only where it is over these columns."""
    average = row.average if tasks.keys() == table.datasets.keys() else None
    cells = (*(_cells(row.scores.get(task)) for task in tasks), _cells(average))
    return Row(row.method, cells, row.parameters or MISSING)


def _cells(score: Score | PublishedScore | None) -> tuple[Cell, Cell]:
    if score is None:
        return Cell(MISSING), Cell(MISSING)
    return Cell(f"{score.psnr:.2f}"), Cell(MISSING if score.ssim is None else f"{score.ssim:.3f}")
