import re
from dataclasses import replace

from abair_pl.evaluation.report.latex import latex
from abair_pl.evaluation.report.table import results_table
from abair_pl.evaluation.results import Results

HOSTILE = r"[1]*\a{b}_c%d&e$f#g^h~i<j>k|l--m"
SAFE = (
    r"{[}1]{*}\textbackslash{}a\{b\}\_c\%d\&e\$f\#g\textasciicircum{}h\textasciitilde{}i"
    r"\textless{}j\textgreater{}k\textbar{}l-{}-{}m"
)


def test_all_rows_have_all_cells(results: Results) -> None:
    lines = [line for line in latex(results_table(results)).splitlines() if line.endswith(r"\\")]
    for line in lines:
        spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        ampersands = len(re.findall(r"(?<!\\)&", line))
        assert ampersands + 1 + sum(span - 1 for span in spans) == 14, line
    assert len(lines) == 3 + 2 + 11 + 4


def test_environments_and_braces_are_closed(results: Results) -> None:
    text = latex(results_table(results))
    for name in ("table*", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 2, 1]
    assert r"\begin{tabular}{l" + "cc" * 6 + "c}" in text


def test_task_stands_over_its_data_set(results: Results) -> None:
    lines = latex(results_table(results)).splitlines()
    place = next(index for index, line in enumerate(lines) if r"\multicolumn{2}{c}{Deraining}" in line)
    assert r"\multicolumn{2}{c}{Rain100L\dag{}}" in lines[place + 1]
    assert r"BSD68 $\sigma$=25" in lines[place + 1]
    assert lines[place + 2].startswith(r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}")


def test_best_is_bold(results: Results) -> None:
    assert latex(results_table(results)).count(r"\textbf{") == 4 * 2


def test_names_are_escaped(results: Results) -> None:
    methods = dict(results.suite.methods)
    methods["soft"] = replace(methods["soft"], title=HOSTILE)
    text = latex(results_table(replace(results, suite=replace(results.suite, methods=methods))))
    assert f"\n{SAFE} & " in text
