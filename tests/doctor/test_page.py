from abair_pl.doctor.page import Line, Section, error_line, facts_of, page
from abair_pl.errors import InputError

GOOD = Section("Machine", [Line("memory", "8 GiB", "ok")], {"memory_gib": 8})
BAD = Section("Shards", [Line("train", "none", "problem", "build some"), Line("val", "few", "warning")], {"shards": 0})


def test_page_is_aligned_and_marks_every_line() -> None:
    lines = page([GOOD, BAD]).splitlines()
    shown = [line for line in lines if "8 GiB" in line or "none" in line or "few" in line]
    assert [line.split()[0] for line in shown[:3]] == ["ok", "problem", "warning"]
    assert len({shown[0].index("8 GiB"), shown[1].index("none"), shown[2].index("few")}) == 1


def test_problems_come_again_at_the_end_before_warnings_with_their_remedies() -> None:
    end = page([BAD, GOOD]).rpartition("\n\n")[2].splitlines()
    assert end[0] == "1 problem, 1 warning: this would break"
    assert [line.strip() for line in end[1:]] == ["problem  train: none", "-> build some", "warning  val: few"]


def test_without_problems_nothing_would_break() -> None:
    assert page([GOOD]).splitlines()[-1] == "no problems, no warnings: nothing that would break"


def test_sections_of_one_title_are_one() -> None:
    assert page([GOOD, GOOD]).splitlines().count("Machine") == 1


def test_long_lines_are_wrapped_below_themselves() -> None:
    rows = page([Section("Output", [Line("output", "word " * 60, "ok")])]).splitlines()[1:4]
    assert all(len(row) <= 120 for row in rows)
    assert {row.index("word") for row in rows} == {rows[0].index("word")}


def test_facts_are_one_object_with_warnings_and_problems() -> None:
    expected = {"memory_gib": 8, "shards": 0, "warnings": ["few"], "problems": ["none; build some"]}
    assert facts_of([GOOD, BAD]) == expected


def test_error_gives_what_was_found_and_the_remedy() -> None:
    assert error_line("batch", InputError("7 is odd; choose 8")) == Line("batch", "7 is odd", "problem", "choose 8")
