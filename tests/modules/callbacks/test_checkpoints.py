"""When checkpoints are written, and where."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from abair_pl.batch import RestorationBatch
from abair_pl.errors import InputError, PreemptedError
from abair_pl.modules.callbacks import RollingCheckpoint
from abair_pl.modules.checkpoint_files import newest_checkpoint
from abair_pl.modules.pretrain import PretrainModule

Fit = Callable[..., L.Trainer]


class Watch(Callback):
    """Notes the steps of checkpoints, and which there are at each validation; tells the run to stop.

    Args:
        stopped_in: The batch in which it does.
    """

    def __init__(self, stopped_in: int = -1) -> None:
        self.stopped_in = stopped_in
        self.saved: list[int] = []
        self.before_validation: list[int] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.stopped_in:
            pl_module.stop_signal = signal.SIGTERM

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.saved.append(trainer.global_step)

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.before_validation.append(self.saved[-1] if self.saved else 0)


def steps_in(folder: Path | None) -> list[int]:
    assert folder is not None
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.iterdir())


@pytest.fixture
def train(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit
) -> Callable[..., tuple[RollingCheckpoint, Watch, L.Trainer]]:
    """Train for as many steps as there are batches, eight unless told otherwise."""

    def run(
        rolling: RollingCheckpoint | None = None, count: int = 8, stopped_in: int = -1, **options: Any
    ) -> tuple[RollingCheckpoint, Watch, L.Trainer]:
        callback, watch = rolling or RollingCheckpoint(every_n_steps=100, keep=100), Watch(stopped_in)
        settings = {"check_val_every_n_epoch": None, "enable_checkpointing": True, **options}
        trainer = fit(module, (batches * 8)[:count], callbacks=[callback, watch], **settings)
        return callback, watch, trainer

    return run


Train = Callable[..., tuple[RollingCheckpoint, Watch, L.Trainer]]


@pytest.mark.parametrize("change", [{"every_n_steps": 0}, {"keep": 0}, {"keep": -1}], ids=str)
def test_numbers_below_one_are_refused(change: dict[str, Any]) -> None:
    name, value = next(iter(change.items()))
    with pytest.raises(InputError, match=rf"RollingCheckpoint\.{name} is {value}; expected at least 1"):
        RollingCheckpoint(**change)


@pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4, 5, 6, 7, 8]), (3, [3, 6, 8]), (4, [4, 8]), (9, [8])])
def test_one_every_few_steps_and_at_the_last(train: Train, every: int, steps: list[int]) -> None:
    callback, watch, _ = train(RollingCheckpoint(every_n_steps=every, keep=9))
    assert steps_in(callback.dirpath) == watch.saved == steps


def test_the_newest_are_kept(train: Train) -> None:
    callback, watch, _ = train(RollingCheckpoint(every_n_steps=1, keep=2))
    assert watch.saved == [1, 2, 3, 4, 5, 6, 7, 8]
    assert steps_in(callback.dirpath) == [7, 8]


def test_one_before_each_validation_says_that_it_is_due(train: Train) -> None:
    callback, watch, _ = train(RollingCheckpoint(2, 9), count=6, limit_val_batches=1, val_check_interval=3)
    assert watch.saved == [2, 3, 4, 6]
    assert watch.before_validation == [3, 6]
    assert callback.dirpath is not None
    for step in watch.saved:
        state = torch.load(callback.dirpath / f"step-{step:09d}.ckpt", weights_only=True)
        due = state["callbacks"][callback.state_key]["validation_due"]
        assert due is (step in (3, 6))
        callback.load_state_dict({"validation_due": due})
        assert callback.state_dict() == {"validation_due": due}


@pytest.mark.parametrize("stopped_in", [0, 4])
def test_one_where_the_run_is_told_to_stop(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit, stopped_in: int, tmp_path: Path
) -> None:
    """At the end of the step that is being made."""
    callbacks = [RollingCheckpoint(every_n_steps=100), Watch(stopped_in)]
    with pytest.raises(PreemptedError, match=f"stopped by SIGTERM at step {stopped_in + 1}; go on with --resume auto"):
        fit(module, batches * 3, enable_checkpointing=True, callbacks=callbacks)
    assert steps_in(tmp_path / "checkpoints" / "pretrain" / "run-0") == [stopped_in + 1]
    assert not (tmp_path / "bundle").exists()


def test_with_accumulated_batches_there_is_one_an_optimizer_step(train: Train) -> None:
    """After the last of its batches, whose gradient is in it."""
    callback, watch, _ = train(RollingCheckpoint(1, 9), count=9, max_steps=3, accumulate_grad_batches=3)
    assert steps_in(callback.dirpath) == watch.saved == [1, 2, 3]
    assert callback.dirpath is not None
    counts = []
    for step in watch.saved:
        state = torch.load(callback.dirpath / f"step-{step:09d}.ckpt", weights_only=True)
        counts.append(state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"])
    assert counts == [3, 6, 9]


def test_a_checkpoint_has_the_optimizer_and_what_was_counted(train: Train, module: PretrainModule) -> None:
    """And becomes what bad steps go back to."""
    remembered: list[int] = []
    module.remember = lambda: remembered.append(module.global_step)  # type: ignore[method-assign]
    callback, _, _ = train(RollingCheckpoint(every_n_steps=3, keep=9))
    assert callback.dirpath is not None
    state = torch.load(callback.dirpath / "step-000000006.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["state"]
    assert (state["global_step"], state["samples_seen"]) == (6, 18)
    assert remembered == [3, 6, 8]


def test_each_new_run_has_a_folder_of_its_own(train: Train, tmp_path: Path) -> None:
    place = tmp_path / "checkpoints" / "pretrain"
    assert train(count=1)[0].dirpath == place / "run-0"
    assert train(count=1)[0].dirpath == place / "run-1"
    other = RollingCheckpoint(folder=tmp_path / "fast")
    assert train(other, count=1)[0].dirpath == tmp_path / "fast" / "pretrain" / "run-0"
    assert steps_in(other.dirpath) == [1]


def test_a_resumed_run_goes_on_in_its_folder(train: Train, tmp_path: Path) -> None:
    first, _, _ = train(max_steps=2)
    train(count=1)
    assert first.dirpath is not None
    again, watch, _ = train(ckpt_path=first.dirpath / "step-000000002.ckpt", max_steps=4)
    assert again.dirpath == first.dirpath
    assert watch.saved == [4]
    assert steps_in(first.dirpath) == [2, 4]


def test_a_run_from_a_checkpoint_of_elsewhere_gets_a_new_folder(train: Train, tmp_path: Path) -> None:
    first, _, _ = train(max_steps=2)
    assert first.dirpath is not None
    elsewhere = (first.dirpath / "step-000000002.ckpt").rename(tmp_path / "sent.ckpt")
    again, _, _ = train(ckpt_path=elsewhere, max_steps=4)
    assert again.dirpath == first.dirpath.with_name("run-1")
    assert steps_in(again.dirpath) == [4]


def test_an_earlier_checkpoint_makes_the_later_ones_void(train: Train) -> None:
    """Else those that the new steps write would be taken for the oldest, removed first, and never resumed from."""
    first, _, _ = train(RollingCheckpoint(every_n_steps=2, keep=3))
    assert first.dirpath is not None
    assert steps_in(first.dirpath) == [4, 6, 8]
    again, watch, _ = train(RollingCheckpoint(1, 1), ckpt_path=first.dirpath / "step-000000004.ckpt", max_steps=5)
    assert watch.saved == [5]
    assert again.dirpath is not None
    assert newest_checkpoint(again.dirpath.parent) == again.dirpath / "step-000000005.ckpt"


def test_a_trial_run_writes_none(train: Train, tmp_path: Path) -> None:
    callback, watch, _ = train(RollingCheckpoint(every_n_steps=1), fast_dev_run=2)
    assert callback.dirpath is None
    assert watch.saved == []
    assert not (tmp_path / "checkpoints").exists()


def test_a_remote_root_is_refused_unless_there_is_a_folder(tmp_path: Path) -> None:
    root: Any = "s3://bucket/runs"
    with pytest.raises(
        InputError, match=r"checkpoints cannot be kept in s3://bucket/runs; .*RollingCheckpoint's folder"
    ):
        RollingCheckpoint().place(root, "pretrain")
    assert RollingCheckpoint(folder=tmp_path).place(root, "adapter/rain") == tmp_path / "adapter-rain"


def test_a_run_with_a_remote_root_is_refused(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="checkpoints cannot be kept in memory://runs; expected a folder"):
        train(count=1, default_root_dir="memory://runs")
