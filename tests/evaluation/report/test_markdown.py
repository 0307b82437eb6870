import re
from dataclasses import replace

from abair_pl.evaluation.report.markdown import markdown
from abair_pl.evaluation.report.table import results_table
from abair_pl.evaluation.results import Results


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_all_rows_have_all_cells(results: Results) -> None:
    found = rows(markdown(results_table(results)))
    assert {len(row) for row in found} == {8}
    assert len(found) == 2 + 2 + 11 + 4


def test_headings_and_cells(results: Results) -> None:
    found = rows(markdown(results_table(results)))
    assert found[0][:3] == ["PSNR / SSIM", "Deraining<br>Rain100L†", "Dehazing<br>SOTS (Out)"]
    assert found[2][0].startswith("**published")
    airnet = next(row for row in found if row[0] == "AirNet")
    assert airnet[1] == "32.98 / 0.951"
    assert next(row for row in found if row[0] == "input")[2] == "—"
    assert sum(cell.count("**") for row in found[-4:] for cell in row) == 4 * 2 * 2


def test_markup_in_names_is_escaped(results: Results) -> None:
    methods = dict(results.suite.methods)
    methods["soft"] = replace(methods["soft"], title="a|b*_[c]")
    text = markdown(results_table(replace(results, suite=replace(results.suite, methods=methods))))
    assert {len(row) for row in rows(text)} == {8}
    assert r"a\|b\*\_\[c\]" in text
    assert text.startswith("# Five & more \\<degradations\\>\n")


def test_notes_are_a_list(results: Results) -> None:
    table = results_table(results)
    assert markdown(table).count("\n- ") == len(table.notes)
