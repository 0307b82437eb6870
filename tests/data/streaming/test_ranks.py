from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from torch import distributed

from abair_pl.data.streaming import ranks
from abair_pl.data.streaming.ranks import add, first_to_say, gather


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What ranks share, in this process."""
    made = distributed.HashStore()  # type: ignore[attr-defined]
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", lambda: made)
    return made


def test_one_process_hears_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(distributed.distributed_c10d, "_get_default_store")  # there is none
    assert gather("a", {"x": 1}, 0, 1) == [{"x": 1}]


def test_rank_zero_hears_all_in_their_order() -> None:
    assert gather("a", [2], 2, 3) is None
    assert gather("a", [1], 1, 3) is None
    assert gather("a", [0], 0, 3) == [[0], [1], [2]]


def test_what_was_heard_takes_no_room(store: Any) -> None:
    before = store.num_keys()
    gather("a", [1], 1, 2)
    gather("a", [0], 0, 2)
    assert store.num_keys() == before


def test_rank_zero_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(ranks, "WAIT", timedelta(seconds=0.05))
    gather("a", 1, 1, 2)
    assert gather("b", 0, 0, 2) is None
    assert caplog.messages == ["b: not all of 2 ranks answered in 0.05 s"]


def test_all_add_to_one_number() -> None:
    assert [add("n", 3), add("n", 0), add("n", 4), add("m", 1)] == [3, 3, 7, 1]


def test_the_first_word_counts() -> None:
    """Of each name; what is said may have spaces and lines, or be empty."""
    assert first_to_say("error", "no more\n2 of it", 3) == (3, "no more\n2 of it")
    assert first_to_say("error", "something else", 0) == (3, "no more\n2 of it")
    assert first_to_say("error", "again", 3) == (3, "no more\n2 of it")
    assert first_to_say("other", "", 12) == (12, "")
    assert first_to_say("other", "Größe: 4 µm", 1) == (12, "")
    assert first_to_say("third", "Größe: 4 µm", 1) == (1, "Größe: 4 µm")


def test_who_reaches_no_other_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first_to_say("error", "before", 0)

    class Gone:
        def compare_set(self, *_: str) -> bytes:
            message = "failed to recv, got 0 bytes"
            raise distributed.DistNetworkError(message)

    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", Gone)
    assert first_to_say("error", "alone", 2) == (2, "alone")


def test_ranks_that_share_files_hear_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with the store of real runs, another one than here."""
    store = distributed.FileStore(str(tmp_path / "store"), 2)  # type: ignore[attr-defined]
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", lambda: store)
    assert [first_to_say("error", text, rank) for rank, text in ((1, "b"), (0, "a"))] == [(1, "b"), (1, "b")]
