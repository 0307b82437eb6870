"""The table as Markdown."""

import re
from collections.abc import Sequence

from abair_pl.evaluation.report.columns import DAGGER
from abair_pl.evaluation.report.table import MISSING, Cell, Column, Row, Table


def markdown(table: Table) -> str:
    """The table with PSNR and SSIM in one cell, and its notes below it."""
    header = ["PSNR / SSIM", *(_heading(column) for column in table.columns), "Parameters"]
    sections = {f"**{_escaped(section.heading)}**": [_line(row) for row in section.rows] for section in table.sections}
    rows = [header, *(row for section in sections.values() for row in section)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(header))]
    drawn = [_joined(header, widths)]
    for heading, lines in sections.items():
        drawn.append(_joined([heading, *[""] * (len(header) - 1)], widths))
        drawn += [_joined(line, widths) for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    notes = [f"- {_escaped(note)}" for note in table.notes]
    return "\n".join([f"# {_escaped(table.title)}", "", drawn[0], rule, *drawn[1:], "", *notes, ""])


def _heading(column: Column) -> str:
    dagger = DAGGER if column.stand_in else ""
    return _escaped(column.title) + (f"<br>{_escaped(column.dataset)}{dagger}" if column.dataset else "")


def _line(row: Row) -> list[str]:
    return [_escaped(row.title), *(_pair(*pair) for pair in row.cells), row.parameters]


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _pair(psnr: Cell, ssim: Cell) -> str:
    return MISSING if psnr.text == ssim.text == MISSING else f"{_bold(psnr)} / {_bold(ssim)}"


def _bold(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.best else cell.text


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)
