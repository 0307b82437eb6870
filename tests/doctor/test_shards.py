import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from abair_pl.doctor.page import Section
from abair_pl.doctor.plan import Plan
from abair_pl.doctor.shards import check_shards


@pytest.fixture
def copy(sample_shards: Path, tmp_path: Path) -> Path:
    """Four shards that the test may change."""
    return Path(shutil.copytree(sample_shards / "val", tmp_path / "shards"))


def problems(section: Section) -> list[str]:
    return [str(line) for line in section.marked("problem")]


def flip(path: Path) -> None:
    """Change a byte, and not the size."""
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def test_counts_and_verifies_two_hashes(copy: Path) -> None:
    section = check_shards(str(copy))
    assert not problems(section)
    assert (section.facts["shards"], section.facts["samples"]) == (4, 8)
    assert (section.facts["verified"]["sizes"], section.facts["verified"]["hashes"]) == (4, 2)
    assert section.lines[0].text == "4 shards, 8 clean samples; verified 4 sizes and 2 hashes of 4"


def test_all_hashes_where_asked_for(copy: Path) -> None:
    flip(sorted(copy.glob("*.tar"))[1])
    assert not problems(check_shards(str(copy))), "neither the first nor the last one"
    (problem,) = problems(check_shards(str(copy), all_hashes=True))
    assert "000001.tar has another sha256" in problem


def test_the_first_and_the_last_hash_are_always_taken(copy: Path) -> None:
    for shard in (sorted(copy.glob("*.tar"))[0], sorted(copy.glob("*.tar"))[-1]):
        before = shard.read_bytes()
        flip(shard)
        assert shard.name in problems(check_shards(str(copy)))[0]
        shard.write_bytes(before)


def test_every_size_is_looked_at(copy: Path) -> None:
    for shard in sorted(copy.glob("*.tar"))[1:3]:
        shard.write_bytes(shard.read_bytes()[:-512])
    (problem,) = problems(check_shards(str(copy)))
    assert "000001.tar has" in problem
    assert "and 1 more" in problem


def test_missing_shards_are_a_problem(tmp_path: Path) -> None:
    (problem,) = problems(check_shards(str(tmp_path / "train-{000000..000003}.tar")))
    assert "train-000000.tar" in problem
    assert "; expected" in problem


def test_a_run_has_its_own_shards(plan: Plan) -> None:
    section = check_shards(None, plan)
    assert not problems(section)
    assert {use: facts["samples"] for use, facts in section.facts["data"].items()} == {"train": 8, "val": 8}
    assert "shards" not in section.facts


def test_training_shards_without_a_manifest_are_a_warning(copy: Path, plan: Plan, change: Callable[..., Plan]) -> None:
    (copy / "manifest.json").unlink()
    section = check_shards(None, change(plan, {"data.train": str(copy)}))
    assert not problems(section)
    assert [line.name for line in section.marked("warning")] == ["train"]
    assert section.facts["data"]["train"]["samples"] is None
    assert problems(check_shards(None, change(plan, {"data.val": str(copy)}))), "validation has to count its samples"


def test_too_few_shards_for_ranks_and_workers_are_a_problem(plan: Plan, change: Callable[..., Plan]) -> None:
    enough = change(plan, {"data.workers": 1}, devices=2)
    assert not problems(check_shards(None, enough))
    (problem,) = problems(check_shards(None, change(plan, {"data.workers": 2}, devices=2)))
    assert "2 training shards" in problem
    assert "2 ranks x 2 workers; expected at least 4" in problem


def test_a_batch_that_does_not_divide_is_a_problem(plan: Plan, change: Callable[..., Plan]) -> None:
    (problem,) = problems(check_shards(None, change(plan, {"data.batch_size": 3}, devices=2)))
    assert problem.startswith("batch_size 3 does not divide over 2 devices")


def test_training_on_what_is_validated_is_a_warning(plan: Plan, change: Callable[..., Plan]) -> None:
    same = check_shards(None, change(plan, {"data.val": plan.data["train"]}))
    assert "to validate on" in same.marked("warning")[0].text
    assert not check_shards(None, plan).marked("warning")


def test_shell_commands_are_refused_unless_the_run_allows_them(plan: Plan, change: Callable[..., Plan]) -> None:
    pipe = change(plan, {"data.train": "pipe:cat shard.tar"})
    assert "would run a shell command" in problems(check_shards(None, pipe))[0]
