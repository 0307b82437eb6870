from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle, save_adapter, save_estimator
from abair_pl.degradations import Synthesizer, resolve_composites, resolve_degradations
from abair_pl.errors import InputError, TrainingError
from abair_pl.models.adapters import LoRA
from abair_pl.models.calibration import Calibration, fit_calibration
from abair_pl.models.estimator import Estimator
from abair_pl.models.weights import blend_weights, keep_clean
from abair_pl.modules.estimator import EstimatorModule, soft_target
from abair_pl.modules.optimization import OptimizationConfig


@pytest.fixture
def make_module(bundle_path: Path, fast: OptimizationConfig, tmp_path: Path) -> Callable[..., EstimatorModule]:
    def make(blend: Literal["one_hot", "soft"] = "soft", restoration_weight: float = 0.0) -> EstimatorModule:
        return EstimatorModule(
            bundle_path, tmp_path / "bundle", blend, restoration_weight=restoration_weight, optimization=fast
        )

    return make


@pytest.mark.parametrize("restoration_weight", [0.0, 1.0])
def test_gradients_reach_the_estimator_alone(
    make_module: Callable[..., EstimatorModule],
    make_batch: Callable[..., RestorationBatch],
    restoration_weight: float,
) -> None:
    module = make_module(restoration_weight=restoration_weight)
    result = module.training_result(make_batch([0, 1, 2, 3], side=64))
    result.loss.backward()
    assert result.loss.isfinite()
    touched = {name for name, value in module.named_parameters() if value.grad is not None and value.grad.any()}
    assert touched == {name for name, _ in module.named_parameters() if name.startswith("estimator.")}


def test_the_loss_is_cross_entropy_with_the_shares_of_the_labels(
    make_module: Callable[..., EstimatorModule], make_batch: Callable[..., RestorationBatch]
) -> None:
    """The second image is of a composite: both of its degradations touch all of it, and share the target."""
    module, batch = make_module().eval(), make_batch([1, 2])
    batch.shares[0] = torch.tensor([0.0, 0.5, 0.0, 0.0, 0.5, 0.0])
    batch.shares[1] = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    result = module.training_result(batch)
    logs = module.estimator(batch.degraded).log_softmax(dim=1)
    expected = -(0.5 * logs[0, 1] + 0.5 * logs[0, 4] + 0.5 * logs[1, 2] + 0.5 * logs[1, 3]) / 2
    torch.testing.assert_close(result.loss, expected)
    assert "restoration" not in result.parts


def test_restoration_through_the_blend_adds_its_share(
    make_module: Callable[..., EstimatorModule], make_batch: Callable[..., RestorationBatch]
) -> None:
    module, batch = make_module(restoration_weight=0.5).eval(), make_batch([1, 2])
    result = module.training_result(batch)
    expected = F.l1_loss(module.restore(batch.degraded), batch.clean)
    torch.testing.assert_close(result.parts["restoration"], expected)
    torch.testing.assert_close(result.loss, result.parts["classification"] + 0.5 * expected)


def test_what_is_wrongly_called_clean_has_a_gradient_through_the_blend(
    make_module: Callable[..., EstimatorModule], make_batch: Callable[..., RestorationBatch]
) -> None:
    module, batch = make_module(restoration_weight=1.0).eval(), make_batch([1, 2])
    last = module.estimator.classify[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias[0] = module.estimator(batch.degraded).max() + 1.0
        assert module.estimator(batch.degraded).argmax(dim=1).eq(0).all()
    module.training_result(batch).parts["restoration"].backward()
    assert last.weight.grad is not None
    assert last.weight.grad.any()


@pytest.mark.parametrize("blend", ["soft", "one_hot"])
def test_images_are_restored_by_the_blend_of_their_calibrated_probabilities(
    make_module: Callable[..., EstimatorModule], make_batch: Callable[..., RestorationBatch], blend: str
) -> None:
    module, image = make_module(blend).eval(), make_batch([1, 2]).degraded
    module.calibration = Calibration(temperature=0.1, sharpness=3.0)
    with torch.no_grad():
        logits = module.estimator(image)
        weights = blend_weights((logits / 0.1 * 3.0).softmax(dim=1), blend) * (logits.argmax(dim=1) != 0)[:, None]
        expected = keep_clean(image, module.restorer(image, weights), weights)
        torch.testing.assert_close(module.restore(image), expected)


def test_fit_trains_the_estimator_and_saves_it(
    make_module: Callable[..., EstimatorModule],
    make_batch: Callable[..., RestorationBatch],
    fit: Callable[..., L.Trainer],
    bundle: Bundle,
) -> None:
    module = make_module()
    before = {name: value.clone() for name, value in module.named_parameters()}
    trainer = fit(module, [make_batch([0, 1, 2], seed=seed) for seed in range(2)], limit_val_batches=1)
    changed = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("estimator.")}
    assert {"train/classification", "train/accuracy", "val/accuracy", "val/psnr/rain"} <= set(trainer.callback_metrics)
    saved = Bundle.open(module.save_to)
    assert saved.config.estimated == bundle.adapter_digests()
    assert saved.config.provenance["estimator"]["steps"] == 2
    weights = saved.estimator().state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in module.estimator.state_dict().items())


def test_validation_accuracy_leaves_repeats_out(
    make_module: Callable[..., EstimatorModule],
    make_batch: Callable[..., RestorationBatch],
    make_trainer: Callable[..., L.Trainer],
    data: Callable[..., L.LightningDataModule],
) -> None:
    module, batch = make_module().eval(), make_batch([1, 1, 2, 3])
    guesses = module.estimator(batch.degraded).argmax(dim=1)
    batch.labels[:3] = guesses[:3].view(-1, 1, 1)
    batch.labels[3] = (guesses[3] + 1) % 6
    batch.valid[:2] = False
    trainer = make_trainer()
    trainer.validate(module, datamodule=data([batch]), verbose=False)
    assert trainer.callback_metrics["val/accuracy"].item() == pytest.approx(0.5)


@pytest.fixture
def photographs_in_two_ways(make_batch: Callable[..., RestorationBatch]) -> list[RestorationBatch]:
    """Photographs as validation gives them, each once with rain and once with haze; one is a repeat."""
    batches = []
    for seed in range(3):
        batch = make_batch([1, 1, 1, 2, 2, 2], seed=seed)
        batch.clean[3:] = batch.clean[:3]
        batch.valid[[2, 5]] = seed < 2
        batches.append(replace(batch, keys=batch.keys[:3] * 2))
    return batches


def expected_calibration(estimator: Estimator, batches: list[RestorationBatch]) -> Calibration:
    """By all valid degraded images, and by each valid photograph once."""
    with torch.no_grad():
        degraded = torch.cat([estimator.eval()(batch.degraded[batch.valid]) for batch in batches])
        clean = torch.cat([estimator(batch.clean[:3][batch.valid[:3]]) for batch in batches])
    labels = torch.cat([batch.labels[batch.valid][:, 0, 0] for batch in batches])
    return fit_calibration(
        torch.cat([degraded, clean]), torch.cat([labels, torch.zeros(len(clean), dtype=torch.int64)])
    )


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_calibration_is_that_of_the_saved_weights_on_the_last_validation(
    bundle_path: Path,
    tmp_path: Path,
    fast: OptimizationConfig,
    photographs_in_two_ways: list[RestorationBatch],
    fit: Callable[..., L.Trainer],
    ema_decay: float,
) -> None:
    """With averaged weights too, which stand in for the trained ones in validation."""
    optimization = replace(fast, ema_decay=ema_decay)
    module = EstimatorModule(
        bundle_path, tmp_path / "bundle", sharpness=2.0, bias={"clean": 0.5}, optimization=optimization
    )
    trainer = fit(module, photographs_in_two_ways, limit_val_batches=1.0, max_steps=6)  # with two validations
    saved = Bundle.open(module.save_to)
    expected = expected_calibration(saved.estimator(), photographs_in_two_ways)
    assert expected.threshold is not None
    assert saved.config.calibration.sharpness == 2.0
    assert saved.config.calibration.bias == (0.5, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert saved.config.calibration.temperature == pytest.approx(expected.temperature, rel=1e-4)
    assert saved.config.calibration.threshold == pytest.approx(expected.threshold, rel=1e-4)
    assert trainer.callback_metrics["val/temperature"].item() == pytest.approx(expected.temperature, rel=1e-4)
    assert trainer.callback_metrics["val/unknown"].item() == pytest.approx(1 / 24)  # 16 degraded, 8 clean


def test_sharpness_and_bias_of_a_bundle_are_kept_unless_others_are_asked_for(
    bundle_path: Path, fast: OptimizationConfig, tmp_path: Path
) -> None:
    bundle = Bundle.open(bundle_path)
    kept = (0.5, 0.0, -1.0, 0.0, 0.0, 0.0)
    made = Calibration(temperature=2.0, threshold=1.0, sharpness=3.0, bias=kept)
    start = save_estimator(tmp_path / "start", bundle, bundle.estimator(), {}, made).path
    second = bundle.config.degradations[1]
    cases: list[tuple[dict[str, Any], float, tuple[float, ...]]] = [
        ({}, 3.0, kept),
        ({"sharpness": 2.0}, 2.0, kept),
        ({"bias": {}}, 3.0, ()),
        ({"bias": {second: 0.25}}, 3.0, (0.0, 0.0, 0.25, 0.0, 0.0, 0.0)),
    ]
    for asked, sharpness, bias in cases:
        module = EstimatorModule(start, tmp_path / "bundle", optimization=fast, **asked)
        assert module.calibration == replace(made, sharpness=sharpness, bias=bias)
        assert module.uncalibrated == Calibration(sharpness=sharpness, bias=bias)
    plain = EstimatorModule(bundle_path, tmp_path / "bundle", optimization=fast).uncalibrated
    assert plain == Calibration()


def test_a_new_adapter_has_no_bias_and_an_unknown_label_is_refused(
    bundle_path: Path, make_adapter: Callable[..., Any], fast: OptimizationConfig, tmp_path: Path
) -> None:
    bundle = Bundle.open(bundle_path)
    made = Calibration(bias=(0.5, 0.0, -1.0, 0.0, 0.0, 0.0))
    start = save_estimator(tmp_path / "start", bundle, bundle.estimator(), {}, made)
    method = LoRA(rank=2)
    wider = save_adapter(start.path, start, "sleet", make_adapter(start, "sleet", method), method, {}).path
    assert EstimatorModule(wider, tmp_path / "bundle", optimization=fast).calibration.bias == (*made.bias, 0.0)
    with pytest.raises(InputError, match="unknown label 'snow'; expected one of: clean, "):
        EstimatorModule(wider, tmp_path / "bundle", bias={"snow": 1.0}, optimization=fast)


def test_calibration_error_is_measured_before_and_after(
    make_module: Callable[..., EstimatorModule],
    photographs_in_two_ways: list[RestorationBatch],
    fit: Callable[..., L.Trainer],
) -> None:
    module = make_module()
    with torch.no_grad():
        dict(module.estimator.named_parameters())["classify.2.weight"].mul_(50.0)  # far too sure of itself
    measured = fit(module, photographs_in_two_ways, limit_val_batches=1.0).callback_metrics
    assert measured["val/temperature"] > 2.0
    assert 0.0 <= measured["val/calibration_error"] < measured["val/calibration_error_raw"] <= 1.0


def test_without_validation_nothing_is_calibrated(
    bundle_copy: Path,
    tmp_path: Path,
    fast: OptimizationConfig,
    batches: list[RestorationBatch],
    fit: Callable[..., L.Trainer],
) -> None:
    """Not even by what the estimator that is trained on was calibrated to; nor by Lightning's trial before training."""
    start = Bundle.open(bundle_copy)
    save_estimator(bundle_copy, start, start.estimator(), {}, Calibration(3.0, 0.5))
    module = EstimatorModule(bundle_copy, tmp_path / "bundle", optimization=fast)
    assert module.calibration == Calibration(3.0, 0.5)
    fit(module, batches, limit_val_batches=1, val_check_interval=3, max_steps=2, num_sanity_val_steps=1)
    assert Bundle.open(module.save_to).config.calibration == Calibration()


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_measuring_does_not_calibrate(
    bundle_copy: Path,
    tmp_path: Path,
    fast: OptimizationConfig,
    batches: list[RestorationBatch],
    make_trainer: Callable[..., L.Trainer],
    data: Callable[..., L.LightningDataModule],
    stage: str,
) -> None:
    start, stored = Bundle.open(bundle_copy), Calibration(3.0, 1e6)
    save_estimator(bundle_copy, start, start.estimator(), {}, stored)
    module, trainer = EstimatorModule(bundle_copy, tmp_path / "bundle", optimization=fast), make_trainer()
    getattr(trainer, stage)(module, datamodule=data(batches), verbose=False)
    prefix = "val" if stage == "validate" else "test"
    assert module.calibration == stored
    assert trainer.callback_metrics[f"{prefix}/unknown"] == 1.0
    assert (
        trainer.callback_metrics[f"{prefix}/calibration_error"]
        != trainer.callback_metrics[f"{prefix}/calibration_error_raw"]
    )


def test_checkpoints_keep_the_calibration(
    make_module: Callable[..., EstimatorModule],
    photographs_in_two_ways: list[RestorationBatch],
    fit: Callable[..., L.Trainer],
    tmp_path: Path,
) -> None:
    module = make_module()
    trainer = fit(module, photographs_in_two_ways, limit_val_batches=1.0)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = make_module()
    fit(resumed, photographs_in_two_ways, ckpt_path=tmp_path / "last.ckpt")  # all steps are done
    assert resumed.calibration == module.calibration != Calibration()
    assert resumed.samples_seen == module.samples_seen > 0


def synthesizer(**settings: Any) -> Synthesizer:
    degradations = resolve_degradations(["rain", "haze", "noise"], [])
    return Synthesizer(degradations, resolve_composites(["rain+haze"], degradations), **settings)


def test_the_target_of_a_composite_is_shared_by_its_members() -> None:
    made = synthesizer()
    shares = made(torch.rand(2, 3, 16, 16), made.plan(torch.arange(2), "rain+haze")).shares
    assert soft_target(shares).tolist() == [[0.0, 0.5, 0.5, 0.0]] * 2


def test_the_target_of_regions_is_their_area() -> None:
    made = synthesizer(cutmix_probability=1.0, smooth_probability=0.0)
    synthesis = made(torch.rand(8, 3, 32, 32), made.plan(torch.arange(8)))
    areas = torch.stack([(synthesis.labels == label).float().mean(dim=(1, 2)) for label in range(4)], dim=1)
    torch.testing.assert_close(soft_target(synthesis.shares), areas)
    assert ((areas > 0).sum(dim=1) > 1).all()


def test_the_target_of_composites_in_regions_is_a_distribution() -> None:
    made = synthesizer(cutmix_probability=1.0, composite_probability=0.5)
    shares = made(torch.rand(16, 3, 32, 32), made.plan(torch.arange(16))).shares
    target = soft_target(shares)
    assert (shares.sum(dim=1) > 1.2).any()
    torch.testing.assert_close(target.sum(dim=1), torch.ones(16))
    assert torch.equal(target > 0, shares > 0)
    torch.testing.assert_close(target[:, 1] * shares[:, 2], target[:, 2] * shares[:, 1])


def test_a_bundle_without_adapters_is_refused(backbone_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no adapters; run phase II first"):
        EstimatorModule(backbone_path, tmp_path)


def test_an_unfrozen_restorer_is_refused(
    make_module: Callable[..., EstimatorModule],
    make_batch: Callable[..., RestorationBatch],
    fit: Callable[..., L.Trainer],
) -> None:
    module = make_module()
    module.restorer.backbone.output.weight.requires_grad_()
    with pytest.raises(TrainingError, match=r"restorer\.backbone\.output\.weight is frozen or trained against"):
        fit(module, [make_batch([1])])


def test_an_estimator_of_an_exchanged_adapter_is_a_start_that_is_not_measured(
    bundle_copy: Path, make_adapter: Callable[..., Any], fast: OptimizationConfig, tmp_path: Path
) -> None:
    first = EstimatorModule(bundle_copy, tmp_path / "made", optimization=fast)
    assert first.has_weights
    other = Bundle.open(bundle_copy)
    save_adapter(bundle_copy, other, "noise", make_adapter(other, "noise", LoRA(rank=2), 9), LoRA(rank=2), {})
    second = EstimatorModule(bundle_copy, tmp_path / "made", optimization=fast)
    assert not second.has_weights
    weights = first.estimator.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in second.estimator.state_dict().items())


def test_an_adapter_that_came_later_is_new_to_the_estimator_that_there_is(
    bundle_copy: Path,
    make_adapter: Callable[..., Any],
    fast: OptimizationConfig,
    fit: Callable[..., L.Trainer],
    make_batch: Callable[..., RestorationBatch],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = Bundle.open(bundle_copy)
    image = make_batch([1]).degraded
    with torch.no_grad():
        before = old.estimator().eval()(image)
    bundle = save_adapter(bundle_copy, old, "sleet", make_adapter(old, "sleet", LoRA(rank=2), 9), LoRA(rank=2), {})
    module = EstimatorModule(bundle_copy, tmp_path / "made", optimization=fast)
    assert module.degradations == [*old.config.adapters, "sleet"]
    with torch.no_grad():
        after = module.estimator.eval()(image)
    assert after.shape == (1, 7)
    torch.testing.assert_close(after[:, :6], before)
    fit(module, [make_batch([6, 1, 0], classes=7)])
    assert "is the start; new to it: sleet" in capsys.readouterr().out
    assert Bundle.open(module.save_to).config.estimated == bundle.adapter_digests()


def counted_clean(module: EstimatorModule) -> list[int]:
    """How many clean images each update of the calibration takes in, from here on."""
    clean: list[int] = []
    update = module.gathered.update

    def counting(logits: Tensor, labels: Tensor) -> None:
        clean.append(int((labels == 0).sum()))
        update(logits, labels)

    module.gathered.update = counting  # type: ignore[method-assign]
    return clean


def test_clean_images_of_photographs_and_of_pairs_count_once_in_the_calibration(
    make_module: Callable[..., EstimatorModule],
    make_batch: Callable[..., RestorationBatch],
    fit: Callable[..., L.Trainer],
) -> None:
    """No pair, and no photograph, is of the first degradation."""
    batch = make_batch([2, 3, 2, 5])
    batch = replace(batch, keys=("a", "a", "b", "pair"))
    module = make_module()
    clean = counted_clean(module)
    fit(module, [batch], limit_val_batches=1)
    assert sum(clean) == 3


def test_photographs_of_one_key_both_count(
    make_module: Callable[..., EstimatorModule],
    make_batch: Callable[..., RestorationBatch],
    fit: Callable[..., L.Trainer],
) -> None:
    batch = replace(make_batch([2, 2, 3, 3]), keys=("a", "a", "a", "a"))
    module = make_module()
    clean = counted_clean(module)
    fit(module, [batch], limit_val_batches=1)
    assert sum(clean) == 2
