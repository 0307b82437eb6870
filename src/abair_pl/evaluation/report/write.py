"""All files of a benchmark's report."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image

from abair_pl.atomic import published
from abair_pl.errors import AbairError
from abair_pl.evaluation.report.files import results_csv, results_json
from abair_pl.evaluation.report.histograms import gain_histograms
from abair_pl.evaluation.report.latex import latex
from abair_pl.evaluation.report.markdown import markdown
from abair_pl.evaluation.report.page import html_page
from abair_pl.evaluation.report.plotting import encoded
from abair_pl.evaluation.report.radar import measured_radar, published_radar
from abair_pl.evaluation.report.strips import strip_sheet
from abair_pl.evaluation.report.table import results_table
from abair_pl.evaluation.results import Example, Results
from abair_pl.images import make_folder

_PLOTS = {"radar": measured_radar, "radar_published": published_radar, "histograms": gain_histograms}
_KINDS: tuple[Literal["svg", "png"], ...] = ("svg", "png")


def write_report(results: Results, examples: Sequence[Example], output: Path) -> list[Path]:
    """Write tables, figures and the page of a benchmark; the same results give the same bytes.

    Everything is made before the first file is replaced, and each file is replaced whole. Figures of an earlier report
    that have no successor are removed; other files in the folder are left alone.

    Args:
        results: Of the benchmark.
        examples: Images to look at; none are needed.
        output: The folder, made where there is none.

    Returns:
        What was written: ``results.json``, ``results.csv``, ``table.md``, ``table.tex``, ``report.html``, and where
        there is something to draw, ``radar``, ``radar_published`` and ``histograms`` as ``.svg`` and ``.png``, and
        ``strips/<task>.png``.

    Raises:
        InputError: The suite names a table that the paper does not have, or ``output`` cannot be a folder.
        AbairError: A file cannot be written.
    """
    table = results_table(results)
    make_folder(output)
    plots = {name: figure for name, draw in _PLOTS.items() if (figure := draw(results)) is not None}
    files = {
        "results.json": results_json(results).encode(),
        "results.csv": results_csv(results).encode(),
        "table.md": markdown(table).encode(),
        "table.tex": latex(table).encode(),
    }
    files |= {f"{name}.{kind}": encoded(figure, kind) for name, figure in plots.items() for kind in _KINDS}
    for task in results.suite.tasks:
        if mine := [example for example in examples if example.task == task]:
            files[f"strips/{task}.png"] = _png(strip_sheet(results.suite, mine))
    files["report.html"] = html_page(results, table, examples, {name: files[f"{name}.svg"] for name in plots}).encode()
    return _replaced(files, output)


def _replaced(files: dict[str, bytes], output: Path) -> list[Path]:
    for name, content in files.items():
        path = output / name
        try:
            path.parent.mkdir(exist_ok=True)
            with published(path) as partial:
                partial.write_bytes(content)
        except OSError as error:
            message = f"cannot write {path} ({error.strerror}); make room, or choose another --output"
            raise AbairError(message) from error
    earlier = {f"{name}.{kind}" for name in _PLOTS for kind in _KINDS}
    earlier |= {f"strips/{path.name}" for path in output.glob("strips/*.png")}
    for name in earlier - files.keys():
        (output / name).unlink(missing_ok=True)
    return [output / name for name in files]


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
