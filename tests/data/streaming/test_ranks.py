from datetime import timedelta

import pytest
from torch import distributed

from abair_pl.data.streaming import ranks
from abair_pl.data.streaming.ranks import add, gather


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ranks share, in this process."""
    store = distributed.HashStore()  # type: ignore[attr-defined]
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", lambda: store)


def test_one_process_hears_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(distributed.distributed_c10d, "_get_default_store")  # there is none
    assert gather("a", {"x": 1}, 0, 1) == [{"x": 1}]


def test_rank_zero_hears_all_in_their_order() -> None:
    assert gather("a", [2], 2, 3) is None
    assert gather("a", [1], 1, 3) is None
    assert gather("a", [0], 0, 3) == [[0], [1], [2]]
    assert gather("a", [0], 0, 3) == [[0], [1], [2]]


def test_rank_zero_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(ranks, "WAIT", timedelta(seconds=0.05))
    gather("a", 1, 1, 2)
    assert gather("b", 0, 0, 2) is None
    assert caplog.messages == ["b: not all of 2 ranks answered in 0.05 s"]


def test_all_add_to_one_number() -> None:
    assert [add("n", 3), add("n", 0), add("n", 4), add("m", 1)] == [3, 3, 7, 1]
