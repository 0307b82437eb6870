from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle
from abair_pl.errors import InputError
from abair_pl.metrics import psnr, ssim
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule

Fit = Callable[..., L.Trainer]
NAMES = ["rain", "haze"]


@pytest.fixture
def make_module(nano: str, fast: OptimizationConfig, tmp_path: Path) -> Callable[..., PretrainModule]:
    """A pretraining module for rain and haze; keywords change its optimization."""

    def make(**changes: Any) -> PretrainModule:
        torch.manual_seed(0)
        return PretrainModule(tmp_path / "bundle", nano, NAMES, optimization=replace(fast, **changes))

    return make


def weights(module: L.LightningModule) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def learning_rates(module: PretrainModule, trainer: L.Trainer) -> list[float]:
    """The learning rate of each step of a run, and what the schedule ends at."""
    module.trainer = trainer
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(trainer.max_steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_learning_rate_rises_linearly_and_falls_by_a_cosine(
    make_module: Callable[..., PretrainModule], make_trainer: Fit
) -> None:
    module = make_module(learning_rate=1e-2, final_learning_rate=1e-4, warmup_steps=4)
    rates = learning_rates(module, make_trainer(max_steps=44))
    assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert rates[24] == pytest.approx((1e-2 + 1e-4) / 2)
    assert rates[44] == pytest.approx(1e-4)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_warm_up_is_at_most_a_tenth_of_the_run(make_module: Callable[..., PretrainModule], make_trainer: Fit) -> None:
    rates = learning_rates(make_module(warmup_steps=1000), make_trainer(max_steps=50))
    assert rates.index(max(rates)) == 5


def test_a_run_without_an_end_is_refused(make_module: Callable[..., PretrainModule], make_trainer: Fit) -> None:
    """The stream is endless, so that only max_steps can end the schedule."""
    module = make_module()
    for endless in ({"max_epochs": -1}, {"max_epochs": 5}):
        module.trainer = make_trainer(**endless)
        with pytest.raises(InputError, match="max_steps"):
            module.setup("fit")


def test_norms_biases_and_temperatures_are_not_decayed(
    make_module: Callable[..., PretrainModule], make_trainer: Fit
) -> None:
    module = make_module(weight_decay=0.3)
    module.trainer = make_trainer(max_steps=10)
    groups = module.configure_optimizers()["optimizer"].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == len(list(module.parameters()))
    for name, parameter in module.named_parameters():
        plain = name.endswith(("bias", "temperature")) or "norm" in name or name.endswith("mix.0.weight")
        assert decay[id(parameter)] == (0.0 if plain else 0.3), name


def test_a_step_changes_every_weight_that_has_a_gradient(
    make_module: Callable[..., PretrainModule], fit: Fit, batches: list[RestorationBatch]
) -> None:
    module = make_module()
    before = weights(module)
    trainer = fit(module, batches)
    assert trainer.global_step == 3
    assert module.samples_seen == 9
    unchanged = [name for name, value in weights(module).items() if torch.equal(value, before[name])]
    assert unchanged == []
    assert {"train/loss", "train/restoration", "train/segmentation", "train/gradient_norm"} <= set(
        trainer.logged_metrics
    )


def test_the_gradient_is_clipped(
    make_module: Callable[..., PretrainModule], fit: Fit, batches: list[RestorationBatch]
) -> None:
    """AdamW undoes a common factor, but not a gradient clipped below its epsilon."""
    moved = []
    for clip in (None, 1e-12):
        module = make_module(weight_decay=0.0)
        before = weights(module)
        fit(module, batches[:1], gradient_clip_val=clip)
        moved.append(max((value - before[name]).abs().max().item() for name, value in weights(module).items()))
    assert moved[0] > 1e-3
    assert moved[1] < 1e-5


def test_validation_measures_each_degradation_and_leaves_repeats_out(
    make_module: Callable[..., PretrainModule],
    make_trainer: Fit,
    data: Callable[..., L.LightningDataModule],
    make_batch: Callable[..., RestorationBatch],
) -> None:
    """The untrained network gives back its input, so that the expected values are the input's."""
    parts = [make_batch([1, 2, 1], seed=1), make_batch([1, 2, 0], seed=2, sigma=0.2)]
    parts[1] = replace(parts[1], valid=torch.tensor([True, False, True]))
    trainer = make_trainer()
    module = make_module()
    module.has_weights = True
    trainer.validate(module, datamodule=data(parts), verbose=False)
    rain = torch.cat([parts[0].degraded[[0, 2]], parts[1].degraded[:1]])
    rain_clean = torch.cat([parts[0].clean[[0, 2]], parts[1].clean[:1]])
    haze, haze_clean = parts[0].degraded[1:2], parts[0].clean[1:2]
    found = {name: value.item() for name, value in trainer.callback_metrics.items()}
    for kind, measure in (("psnr", psnr), ("ssim", ssim)):
        expected = [measure(rain, rain_clean).mean().item(), measure(haze, haze_clean).mean().item()]
        assert [found[f"val/{kind}/{name}"] for name in NAMES] == pytest.approx(expected, rel=1e-5)
        assert found[f"val/{kind}"] == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_the_test_stage_logs_under_its_own_name(
    make_module: Callable[..., PretrainModule],
    make_trainer: Fit,
    data: Callable[..., L.LightningDataModule],
    batches: list[RestorationBatch],
) -> None:
    trainer = make_trainer()
    module = make_module()
    module.has_weights = True
    trainer.test(module, datamodule=data(batches), verbose=False)
    expected = {f"test/{kind}{name}" for kind in ("psnr", "ssim") for name in ("", *(f"/{name}" for name in NAMES))}
    assert expected <= set(trainer.callback_metrics)


def test_the_bundle_holds_the_trained_weights_and_facts(
    make_module: Callable[..., PretrainModule], fit: Fit, batches: list[RestorationBatch]
) -> None:
    module = make_module(ema_decay=0.5)
    fit(module, batches)
    bundle = Bundle.open(module.save_to)
    saved = bundle.backbone().state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in module.backbone.state_dict().items())
    facts = {"steps": 3, "samples_seen": 9, "precision": "32-true", "devices": 1, "data": "in memory"}
    assert bundle.config.provenance["pretrain"].items() >= facts.items()


def test_a_trial_run_writes_no_bundle(
    make_module: Callable[..., PretrainModule], fit: Fit, batches: list[RestorationBatch]
) -> None:
    module = make_module()
    fit(module, batches, fast_dev_run=True)
    assert not module.save_to.exists()
