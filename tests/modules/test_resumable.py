"""Steps that go wrong, and checkpoints that are taken up again."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from abair_pl.batch import RestorationBatch
from abair_pl.errors import InputError, TrainingError
from abair_pl.modules.adapter import AdapterModule
from abair_pl.modules.callbacks import RollingCheckpoint
from abair_pl.modules.guard import GuardConfig
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule

Fit = Callable[..., L.Trainer]
NAMES = ["rain", "haze"]


@pytest.fixture
def make_module(nano: str, fast: OptimizationConfig, tmp_path: Path) -> Callable[..., PretrainModule]:
    """A pretraining module for rain and haze; keywords change its optimization."""

    def make(guard: GuardConfig = GuardConfig(restore_after=3, fail_after=3), **changes: Any) -> PretrainModule:  # noqa: B008
        torch.manual_seed(0)
        return PretrainModule(tmp_path / "bundle", nano, NAMES, optimization=replace(fast, **changes), guard=guard)

    return make


def weights(module: L.LightningModule) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("where", ["degraded", "clean"])
def test_a_step_that_is_not_finite_changes_nothing(
    make_module: Callable[..., PretrainModule],
    fit: Fit,
    batches: list[RestorationBatch],
    where: str,
    ema_decay: float,
) -> None:
    """In the input it spoils the gradient; in the target the loss alone."""
    image = getattr(batches[0], where).clone()
    image[0, 0, 0, 0] = torch.nan
    broken = replace(batches[0], **{where: image})
    module = make_module(ema_decay=ema_decay, weight_decay=0.5)
    before = weights(module)
    fit(module, [broken, broken])
    assert same(before, weights(module))
    assert module.guard.state.skipped_in_a_row == 2


def test_training_goes_on_after_a_skipped_step(
    make_module: Callable[..., PretrainModule],
    fit: Fit,
    batches: list[RestorationBatch],
    broken: RestorationBatch,
) -> None:
    module = make_module()
    before = weights(module)
    fit(module, [broken, broken, batches[0], broken, broken])
    after = weights(module)
    assert not same(before, after)
    assert all(value.isfinite().all() for value in after.values())
    assert module.guard.state.skipped_in_a_row == 2


def test_too_many_skipped_steps_fail(
    make_module: Callable[..., PretrainModule],
    fit: Fit,
    batches: list[RestorationBatch],
    broken: RestorationBatch,
) -> None:
    with pytest.raises(TrainingError, match=r"^3 steps in a row had losses .*step 3, .*with a lower learning"):
        fit(make_module(), [batches[0], broken, broken, broken, batches[0]])


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(
    make_module: Callable[..., PretrainModule], fit: Fit, batches: list[RestorationBatch], tmp_path: Path
) -> None:
    whole, resumed = make_module(ema_decay=0.9), make_module(ema_decay=0.9)
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, save_on_train_epoch_end=False)
    fit(whole, batches[:1] * 4, enable_checkpointing=True, callbacks=[keep])
    fit(resumed, batches[:1] * 4, ckpt_path=tmp_path / "epoch=0-step=2.ckpt")
    assert whole.samples_seen == resumed.samples_seen == 12
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


@pytest.mark.parametrize("change", [{"segmentation_weight": 0.5}, {"degradations": ["haze", "rain"]}], ids=str)
def test_a_checkpoint_of_other_settings_is_refused(
    make_module: Callable[..., PretrainModule],
    fit: Fit,
    batches: list[RestorationBatch],
    nano: str,
    change: dict[str, Any],
    tmp_path: Path,
) -> None:
    module = make_module()
    fit(module, batches, max_steps=1).save_checkpoint(tmp_path / "half.ckpt")
    settings = {"degradations": NAMES, "optimization": module.optimization, **change}
    other = PretrainModule(tmp_path / "bundle", nano, **settings)
    with pytest.raises(InputError, match=f"made with {next(iter(change))}=.*--model.init_from"):
        fit(other, batches, ckpt_path=tmp_path / "half.ckpt")


def test_a_checkpoint_of_another_optimization_is_refused(
    make_module: Callable[..., PretrainModule], fit: Fit, batches: list[RestorationBatch], tmp_path: Path
) -> None:
    fit(make_module(), batches, max_steps=1).save_checkpoint(tmp_path / "half.ckpt")
    with pytest.raises(InputError, match="made with optimization="):
        fit(make_module(learning_rate=1e-3), batches, ckpt_path=tmp_path / "half.ckpt")


@pytest.mark.parametrize(("schedule_steps", "warns"), [(None, True), (30, False)])
def test_a_longer_run_warns_where_the_learning_rate_may_jump(
    make_module: Callable[..., PretrainModule],
    fit: Fit,
    batches: list[RestorationBatch],
    schedule_steps: int | None,
    warns: bool,
    tmp_path: Path,
) -> None:
    fit(make_module(schedule_steps=schedule_steps), batches[:1]).save_checkpoint(tmp_path / "short.ckpt")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(make_module(schedule_steps=schedule_steps), batches, ckpt_path=tmp_path / "short.ckpt")
    assert any("may jump" in str(each.message) for each in said) is warns


class Spoiler(L.Callback):
    """Spoils the weights, as a bad step would, at the start of a batch, and notes them as they were at others."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen: dict[int, dict[str, torch.Tensor]] = {}

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.at:
            with torch.no_grad():
                for parameter in pl_module.parameters():
                    parameter.fill_(torch.nan)
        self.seen[batch_idx] = weights(pl_module)


def test_after_some_bad_steps_the_last_checkpoint_comes_back(
    make_module: Callable[..., PretrainModule], fit: Fit, batches: list[RestorationBatch]
) -> None:
    """Optimizer and average, too: the run ends as one that never had the steps after the checkpoint."""
    guard = GuardConfig(restore_after=3, fail_after=9)
    spoiler = Spoiler(at=3)
    module = make_module(guard, ema_decay=0.5)
    keep = RollingCheckpoint(every_n_steps=2)
    with pytest.warns(UserWarning, match="3 steps in a row were skipped.*back to the weights of the last checkpoint"):
        fit(module, batches[:1] * 8, enable_checkpointing=True, callbacks=[keep, spoiler])
    assert module.guard.state.restored == 1
    assert module.guard.state.skipped == 3
    assert same(spoiler.seen[6], spoiler.seen[2])
    assert not same(spoiler.seen[7], spoiler.seen[6])
    assert all(value.isfinite().all() for value in weights(module).values()), "the average was brought back, too"


def test_before_the_first_checkpoint_the_start_comes_back(
    make_module: Callable[..., PretrainModule], fit: Fit, batches: list[RestorationBatch]
) -> None:
    spoiler = Spoiler(at=1)
    module = make_module(GuardConfig(restore_after=1, fail_after=2))
    with pytest.warns(UserWarning, match="back to the weights"):
        fit(module, batches[:1] * 4, callbacks=[spoiler])
    assert same(spoiler.seen[2], spoiler.seen[0])


def test_frozen_weights_are_not_in_checkpoints(
    backbone_path: Path, fit: Fit, fast: OptimizationConfig, make_batch: Callable[..., RestorationBatch], tmp_path: Path
) -> None:
    def made() -> AdapterModule:
        torch.manual_seed(0)
        return AdapterModule(
            backbone_path, tmp_path / "saved", "rain", optimization=replace(fast, ema_decay=0.9), guard=GuardConfig()
        )

    batches = [make_batch([1, 1, 0], seed=seed, classes=2) for seed in range(3)]
    module = made()
    trainer = fit(module, batches)
    trainer.save_checkpoint(tmp_path / "small.ckpt")
    checkpoint = torch.load(tmp_path / "small.ckpt", weights_only=True)
    trained = {name for name, value in module.named_parameters() if value.requires_grad}
    for state in ("state_dict", "current_model_state"):
        assert trained <= checkpoint[state].keys()
        assert not any("base_layer" in name for name in checkpoint[state])
    resumed = made()
    fit(resumed, batches, max_steps=3, ckpt_path=tmp_path / "small.ckpt")
    assert same(weights(module), weights(resumed))
