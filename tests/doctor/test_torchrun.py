from collections.abc import Callable

import pytest

from abair_pl.doctor.plan import Plan
from abair_pl.doctor.torchrun import check_torchrun

GOOD = {
    **{"WORLD_SIZE": "8", "RANK": "0", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "0"},
    **{"MASTER_ADDR": "node-1", "MASTER_PORT": "29500"},
}


@pytest.fixture
def wide(plan: Plan, change: Callable[..., Plan]) -> Plan:
    """A run of four processes on each of two nodes."""
    return change(plan, devices=4, nodes=2)


def test_without_variables_there_is_nothing_to_say(wide: Plan) -> None:
    section = check_torchrun(wide, environment={"PATH": "/bin"})
    assert [line.mark for line in section.lines] == [""]


def test_variables_that_fit(wide: Plan) -> None:
    section = check_torchrun(wide, environment=GOOD)
    assert [line.mark for line in section.lines] == ["ok"]
    assert section.facts["torchrun"] == GOOD


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORLD_SIZE", "4", "the trainer expects 4 devices x 2 nodes = 8"),
        ("LOCAL_WORLD_SIZE", "2", "the trainer expects 4 devices"),
        ("RANK", "8", "expected less than WORLD_SIZE"),
        ("LOCAL_RANK", "4", "expected less than LOCAL_WORLD_SIZE"),
        ("RANK", "first", "expected a number"),
        ("RANK", None, "not set"),
        ("WORLD_SIZE", None, "not set, with a RANK of 0"),
        ("MASTER_ADDR", None, "not set"),
        ("MASTER_ADDR", "localhost", "other nodes cannot reach"),
        ("MASTER_PORT", None, "not set"),
        ("MASTER_PORT", "70000", "expected 1 to 65535"),
    ],
)
def test_what_would_stall_is_a_problem(name: str, value: str | None, words: str, wide: Plan) -> None:
    environment = {key: entry for key, entry in {**GOOD, name: value}.items() if entry is not None}
    (line,) = check_torchrun(wide, environment=environment).lines
    assert (line.mark, line.name) == ("problem", name)
    assert words in line.text
    assert line.remedy
