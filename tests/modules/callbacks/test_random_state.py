"""Random numbers that go on where a checkpoint was written."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import distributed

from abair_pl.batch import RestorationBatch
from abair_pl.modules.callbacks import RandomStates
from abair_pl.modules.pretrain import PretrainModule

Fit = Callable[..., L.Trainer]


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - what libraries use
    torch.manual_seed(number)


def draw() -> list[float]:
    """From each generator, Gaussian ones, too: Python and NumPy keep every second of these."""
    python, numpy = [random.random(), random.gauss(0.0, 1.0)], np.random.standard_normal(3)  # noqa: NPY002
    return [*python, *numpy.tolist(), *np.random.random(2).tolist(), *torch.randn(3).tolist()]  # noqa: NPY002


def rank(callback: RandomStates, number: int = 0, world_size: int = 1) -> RandomStates:
    """The callback, knowing its rank."""
    callback.setup(*ranks(number, world_size), "fit")
    return callback


def ranks(number: int, world_size: int) -> tuple[Any, Any]:
    return SimpleNamespace(global_rank=number, world_size=world_size), None


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ranks share, in this process."""
    store = distributed.HashStore()  # type: ignore[attr-defined]
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", lambda: store)


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    """Other tests find the states as they were."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    yield
    random.setstate(before[0])
    np.random.set_state(before[1])  # noqa: NPY002


@pytest.mark.parametrize("drawn", [0, 1, 2, 700])
def test_the_states_come_back(drawn: int) -> None:
    """As JSON has them, wherever they are in their sequences, and once."""
    seed(1)
    for _ in range(drawn):
        draw()
    kept = json.loads(json.dumps(rank(RandomStates()).state_dict()))
    expected = [draw(), draw()]
    seed(2)
    assert draw() != expected[0]
    callback = rank(RandomStates())
    callback.load_state_dict(kept)
    assert draw() != expected[0], "not before training starts"
    callback.on_train_start(*ranks(0, 1))
    assert [draw(), draw()] == expected
    callback.on_train_start(*ranks(0, 1))
    assert draw() not in expected


def test_keeping_them_changes_nothing() -> None:
    seed(1)
    expected = draw()
    seed(1)
    rank(RandomStates()).state_dict()
    assert draw() == expected


def test_each_rank_gets_its_own() -> None:
    """Rank 0 keeps those of all; ranks say theirs in calls of the same number."""
    states, expected = [], []
    for number in (1, 0):
        seed(number)
        states.append(rank(RandomStates(), number, 2))
        expected.append(draw())
    assert expected[0] != expected[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("abair_pl.modules.callbacks.random_state._calls", iter([7, 7]))
        seed(1)
        assert states[0].state_dict() == {"ranks": []}
        seed(0)
        kept = states[1].state_dict()
    assert len(kept["ranks"]) == 2
    for number, numbers in zip((1, 0), expected, strict=True):
        seed(5)
        callback = rank(RandomStates(), number, 2)
        callback.load_state_dict(kept)
        callback.on_train_start(*ranks(number, 2))
        assert draw() == numbers


@pytest.mark.parametrize("world_size", [2, 4])
def test_another_number_of_ranks_leaves_them(world_size: int) -> None:
    seed(1)
    kept = rank(RandomStates()).state_dict()
    seed(3)
    expected = draw()
    seed(3)
    callback = rank(RandomStates(), 0, world_size)
    callback.load_state_dict(kept)
    callback.on_train_start(*ranks(0, world_size))
    assert draw() == expected


def test_nothing_was_kept_where_a_rank_did_not_answer() -> None:
    seed(3)
    expected = draw()
    seed(3)
    callback = rank(RandomStates())
    callback.load_state_dict({"ranks": []})
    callback.on_train_start(*ranks(0, 1))
    assert draw() == expected


class Draws(Callback):
    """Notes a number of each generator in each step."""

    def __init__(self) -> None:
        self.numbers: dict[int, list[float]] = {}

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.numbers[trainer.global_step] = draw()


def test_a_resumed_run_draws_what_it_would_have_drawn(
    make_module: Callable[[], PretrainModule], batches: list[RestorationBatch], fit: Fit, tmp_path: Path
) -> None:
    whole, resumed = Draws(), Draws()
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, save_on_train_epoch_end=False)
    seed(1)
    fit(make_module(), batches[:1] * 4, enable_checkpointing=True, callbacks=[keep, whole])
    seed(9)
    fit(make_module(), batches[:1] * 4, callbacks=[resumed], ckpt_path=tmp_path / "epoch=0-step=2.ckpt")
    assert list(resumed.numbers) == [2, 3]
    assert resumed.numbers == {step: whole.numbers[step] for step in (2, 3)}


@pytest.fixture
def make_module(nano: str, fast: Any, tmp_path: Path) -> Callable[[], PretrainModule]:
    return lambda: PretrainModule(tmp_path / "bundle", nano, ["rain", "haze"], optimization=fast)
