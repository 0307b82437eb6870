"""The table as Markdown."""

import re

from abair_pl.evaluation.report.columns import DAGGER
from abair_pl.evaluation.report.table import MISSING, Cell, Column, Row, Table
from abair_pl.evaluation.table import aligned


def markdown(table: Table) -> str:
    """The table with PSNR and SSIM in one cell, and its notes below it."""
    header = ["PSNR / SSIM", *(_heading(column) for column in table.columns), "Parameters"]
    rows = [header]
    for section in table.sections:
        rows.append([f"**{_escaped(section.heading)}**", *[""] * (len(header) - 1)])
        rows += [_line(row) for row in section.rows]
    notes = [f"- {_escaped(note)}" for note in table.notes]
    return "\n".join([f"# {_escaped(table.title)}", "", aligned(rows), "", *notes, ""])


def _heading(column: Column) -> str:
    dagger = DAGGER if column.stand_in else ""
    return _escaped(column.title) + (f"<br>{_escaped(column.dataset)}{dagger}" if column.dataset else "")


def _line(row: Row) -> list[str]:
    return [_escaped(row.title), *(_pair(*pair) for pair in row.cells), row.parameters]


def _pair(psnr: Cell, ssim: Cell) -> str:
    return MISSING if psnr.text == ssim.text == MISSING else f"{_bold(psnr)} / {_bold(ssim)}"


def _bold(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.best else cell.text


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)
