"""The table as LaTeX."""

from abair_pl.evaluation.report.columns import DAGGER
from abair_pl.evaluation.report.table import MISSING, Cell, Column, Row, Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # which after the end of a row would begin its option, as * would
    "*": "{*}",
    "-": "-{}",  # two of which would make a dash
    **{character: f"\\{character}" for character in "&%$#_"},
    DAGGER: r"\dag{}",
    MISSING: "---",
    "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
}


def latex(table: Table) -> str:
    """A floating table over both columns of a page, which needs the package ``booktabs``."""
    width = 2 * len(table.columns) + 2
    body = []
    for section in table.sections:
        body += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_escaped(section.heading)}}}}} \\"]
        body += [_line(row) for row in section.rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{_escaped(table.title)}}}",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{l{'cc' * len(table.columns)}c}}",
            r"\toprule",
            *_header(table.columns),
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\medskip",
            *(rf"\par\raggedright {_escaped(note)}" for note in table.notes),
            r"\end{table*}",
            "",
        ]
    )


def _header(columns: tuple[Column, ...]) -> list[str]:
    titles = [_over_two(column.title) for column in columns]
    datasets = [_over_two(column.dataset + DAGGER * column.stand_in) for column in columns]
    rules = "".join(rf"\cmidrule(lr){{{left}-{left + 1}}}" for left in range(2, 2 * len(columns) + 2, 2))
    return [
        rf" & {' & '.join(titles)} & Parameters \\",
        rf" & {' & '.join(datasets)} & \\",
        rules,
        rf" & {' & '.join(['PSNR & SSIM'] * len(columns))} & \\",
    ]


def _over_two(text: str) -> str:
    return rf"\multicolumn{{2}}{{c}}{{{_escaped(text)}}}"


def _line(row: Row) -> str:
    cells = [_bold(cell) for pair in row.cells for cell in pair]
    return rf"{_escaped(row.title)} & {' & '.join(cells)} & {_escaped(row.parameters)} \\"


def _bold(cell: Cell) -> str:
    text = _escaped(cell.text)
    return rf"\textbf{{{text}}}" if cell.best else text


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
