from collections.abc import Mapping
from dataclasses import replace

import pytest

from abair_pl.errors import InputError
from abair_pl.evaluation.report.columns import DAGGER
from abair_pl.evaluation.report.table import MISSING, Cell, Table, results_table
from abair_pl.evaluation.results import Record, Results
from abair_pl.evaluation.suite import Method, Suite, Task

TASK = Task("Deraining", "Rain100L", "rain100l", "Rain100L")


def made(scores: Mapping[str, tuple[float, float]], published: str = "", **changes: object) -> Table:
    """The table of one image, one task, and methods of the given scores; its input has 20 dB."""
    suite = Suite("Made", {"rain": TASK}, {name: Method(name) for name in scores}, published)
    records = [Record("rain", name, "a", 20.0, 0.5, *score, {}, None, 0.0, 1.0) for name, score in scores.items()]
    return results_table(replace(Results(suite, records, {"rain": "Rain100L (1 image)"}), **changes))  # type: ignore[arg-type]


def cells(table: Table, section: int, title: str) -> list[tuple[str, str]]:
    row = next(row for row in table.sections[section].rows if row.title == title)
    return [(psnr.text, ssim.text) for psnr, ssim in row.cells]


def notes(table: Table, word: str) -> list[str]:
    return [note for note in table.notes if word in note]


def test_published_rows_stand_above_ours_under_a_heading_of_their_own(results: Results) -> None:
    table = results_table(results)
    published, measured = table.sections
    assert (published.published, measured.published) == (True, False)
    assert published.heading.startswith("published")
    assert measured.heading.startswith("measured here")
    assert [row.title for row in measured.rows] == ["input", "phase I", "SW", "Oracle"]
    assert len(published.rows) == 11
    assert cells(table, 0, "AirNet")[0] == ("32.98", "0.951")
    assert cells(table, 0, "AirNet")[-1] == ("25.49", "0.847")


def test_columns_are_the_tasks_and_the_average(results: Results) -> None:
    columns = results_table(results).columns
    assert [column.title for column in columns] == [
        "Deraining",
        "Dehazing",
        "Denoising",
        "Deblurring",
        "Low light",
        "Average",
    ]
    assert [column.stand_in for column in columns] == [True, False, False, False, True, False]


def test_our_values_are_the_means_of_the_records(results: Results) -> None:
    score, before = results.score("denoising", "soft"), results.input_score("denoising")
    assert score is not None
    assert before is not None
    table = results_table(results)
    assert cells(table, 1, "SW")[2] == (f"{score.psnr:.2f}", f"{score.ssim:.3f}")
    assert cells(table, 1, "input")[2] == (f"{before.psnr:.2f}", f"{before.ssim:.3f}")


def test_heading_says_in_what_ours_differ(results: Results) -> None:
    heading = results_table(results).sections[1].heading
    assert heading == (
        f"measured here: another size (2.4M to 2.5M parameters), other data than the paper's in columns with {DAGGER}"
    )
    all_made = replace(results, stand_ins=frozenset(results.suite.tasks))
    assert results_table(all_made).sections[1].heading.endswith("other data than the paper's")
    same = replace(results, stand_ins=frozenset(), parameters={"soft": 59_100_000})
    assert results_table(same).sections[1].heading == "measured here: 59M parameters"


def test_skipped_task_is_a_column_of_dashes_with_its_reason(results: Results) -> None:
    table = results_table(results)
    assert all(row.cells[1] == (Cell(MISSING), Cell(MISSING)) for row in table.sections[1].rows)
    assert notes(table, "SOTS in --data") == ["Dehazing (SOTS (Out)) was skipped: there is no folder SOTS in --data."]
    assert all(row.cells[-1] == (Cell(MISSING), Cell(MISSING)) for row in table.sections[1].rows)
    assert notes(table, "No average")


def test_skipped_method_is_a_row_of_dashes_with_its_reason(results: Results) -> None:
    records = [record for record in results.records if record.method != "oracle"]
    table = results_table(replace(results, records=records, skipped={"oracle": "no bundle"}, parameters={}))
    assert cells(table, 1, "Oracle") == [(MISSING, MISSING)] * 6
    assert table.sections[1].rows[-1].parameters == MISSING
    assert notes(table, "no bundle") == ["Oracle was skipped: no bundle."]


def test_method_that_lacks_tasks_has_no_average_and_one_note_for_each_reason(results: Results) -> None:
    lacking = ("deraining", "deblurring")
    records = [record for record in results.records if not (record.method == "none" and record.task in lacking)]
    reasons = {f"none on {task}": "it has no head" for task in lacking}
    table = results_table(replace(results, records=records, skipped=reasons))
    assert notes(table, "it has no head") == ["phase I on Deraining, Deblurring was skipped: it has no head."]
    assert notes(table, "phase I on Dehazing") == ["phase I on Dehazing was not measured."]
    assert cells(table, 1, "phase I")[0] == cells(table, 1, "phase I")[-1] == (MISSING, MISSING)
    assert cells(table, 1, "phase I")[2] != (MISSING, MISSING)


def test_stand_in_is_explained(results: Results) -> None:
    explained = notes(results_table(results), f"{DAGGER} Deraining")
    assert explained == [f"{DAGGER} Deraining: 5 photographs, deraining added, protocol y."]


def test_average_is_given_where_all_was_measured() -> None:
    table = made({"a": (25.0, 0.75)})
    assert cells(table, 0, "a") == [("25.00", "0.750")] * 2
    assert cells(table, 0, "input") == [("20.00", "0.500")] * 2
    assert not notes(table, "No average")


def test_best_of_our_section_is_marked_and_equals_share_it() -> None:
    rows = made({"a": (25.001, 0.7), "b": (24.999, 0.8), "c": (21.0, 0.6)}).sections[0].rows
    assert [[cell.best for cell in row.cells[0]] for row in rows] == [
        [False, False],
        [True, False],
        [True, True],
        [False, False],
    ]


def test_input_is_the_best_where_nothing_beats_it() -> None:
    rows = made({"a": (19.0, 0.4)}).sections[0].rows
    assert rows[0].cells[0] == (Cell("20.00", best=True), Cell("0.500", best=True))


def test_published_values_are_never_marked(results: Results) -> None:
    assert not any(cell.best for row in results_table(results).sections[0].rows for pair in row.cells for cell in pair)


def test_published_average_is_left_out_over_other_columns() -> None:
    suite = Suite("Made", {"deraining": TASK, "mine": TASK}, {"a": Method("A")}, "table1")
    table = results_table(Results(suite, [], {}))
    assert cells(table, 0, "AirNet") == [("32.98", "0.951"), (MISSING, MISSING), (MISSING, MISSING)]
    assert notes(table, "published averages are over other columns")
    assert table.sections[1].heading == "measured here"


def test_notes_give_the_source_and_what_the_summary_lacks() -> None:
    table = made({"a": (25.0, 0.7)}, published="table8")
    assert notes(table, "arXiv 2411.18412")
    assert notes(table, "sum and average are not known")


def test_published_gaps_are_dashes() -> None:
    tasks = dict.fromkeys(("deraining", "dehazing", "denoising", "deblurring", "low_light"), TASK)
    table = results_table(Results(Suite("Made", tasks, {"a": Method("A")}, "table7"), [], {}))
    assert cells(table, 0, "VeRA rank 4")[3:] == [("28.61", MISSING), (MISSING, MISSING), (MISSING, MISSING)]


def test_without_a_published_table_there_is_one_section() -> None:
    table = made({"a": (25.0, 0.7)})
    assert [section.published for section in table.sections] == [False]


def test_unknown_published_table_is_an_error() -> None:
    with pytest.raises(InputError, match="unknown published table"):
        made({"a": (25.0, 0.7)}, published="table0")
