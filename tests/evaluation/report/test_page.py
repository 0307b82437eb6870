import re
from dataclasses import replace

import pytest

from abair_pl.evaluation.report.histograms import gain_histograms
from abair_pl.evaluation.report.page import html_page
from abair_pl.evaluation.report.plotting import encoded
from abair_pl.evaluation.report.radar import measured_radar
from abair_pl.evaluation.report.table import results_table
from abair_pl.evaluation.results import Example, Results


def page_of(results: Results, examples: list[Example]) -> str:
    plots = {"radar": measured_radar(results), "histograms": gain_histograms(results)}
    drawn = {name: encoded(figure, "svg") for name, figure in plots.items() if figure is not None}
    return html_page(results, results_table(results), examples, drawn)


@pytest.fixture(scope="module")
def page(results: Results, examples: list[Example]) -> str:
    return page_of(results, examples)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_nothing_is_asked_of_the_network(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 2 + 12 * 5
    assert all(source.startswith("data:image/") for source in sources)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_names_are_escaped(page: str) -> None:
    assert "<h1>Five &amp; more &lt;degradations&gt;</h1>" in page
    assert "<degradations>" not in page


def test_hostile_names_are_text(results: Results, examples: list[Example]) -> None:
    hostile = '"><script>alert(1)</script>'
    shown = [replace(example, image=hostile) for example in examples]
    found = page_of(replace(results, facts={hostile: hostile}), shown)
    assert hostile not in found
    assert found.count("<script>") == 1


def test_table_has_all_cells_and_the_best_are_bold(page: str) -> None:
    body = page[page.index('<table class="results">') :]
    body = body[: body.index("</table>")]
    rows = re.findall(r'<tr><th scope="row">.*?</tr>', body)
    assert len(rows) == 11 + 4
    assert {row.count("<td>") for row in rows} == {13}
    published = body[body.index('<tbody class="published">') :].split("</tbody>")[0]
    assert published.count('<th scope="row">') == 11
    assert "<b>" not in published
    assert body.count("<b>") == 4 * 2


def test_table_notes_are_below_it(page: str) -> None:
    found = text_of(page)
    assert "† Deraining: 5 photographs, deraining added, protocol y." in found
    assert "Dehazing (SOTS (Out)) was skipped: there is no folder SOTS in --data." in found
    assert "arXiv 2411.18412" in found


def test_each_example_has_a_slider_and_buttons(page: str) -> None:
    assert page.count('<input type="range"') == 12
    assert page.count("<button ") == 12 * 4
    assert page.count('<button type="button" aria-pressed="true">') == 12
    assert len(re.findall(r'<img class="after"[^>]* hidden>', page)) == 12 * 3
    chosen = re.findall(r'<button type="button" aria-pressed="true">(\w+)', page)
    assert chosen == ["SW"] * 12


def test_protocols_and_facts_are_shown(page: str) -> None:
    found = text_of(page)
    assert "BT.601 luma" in found
    assert "mean of per-image values" in found
    assert "tiny, 2.5 M parameters, five adapters" in found


def test_parts_without_content_are_left_out(results: Results) -> None:
    bare = replace(results, records=[], protocols={}, facts={}, parameters={})
    found = html_page(bare, results_table(bare), [], {})
    for heading in ("Figures", "Images", "Protocols"):
        assert f"<h2>{heading}</h2>" not in found
    assert "<h2>Results</h2>" in found


def test_data_sets_tell_tasks_of_one_title(results: Results, examples: list[Example]) -> None:
    tasks = {name: replace(task, title="Same") for name, task in results.suite.tasks.items()}
    found = page_of(replace(results, suite=replace(results.suite, tasks=tasks)), examples)
    assert re.findall(r"<h3>(.*?)</h3>", found) == [
        "Same, Rain100L†",
        "Same, BSD68 \N{GREEK SMALL LETTER SIGMA}=25",
        "Same, GoPro",
        "Same, LoLv1†",
    ]
