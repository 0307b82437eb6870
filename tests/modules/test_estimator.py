from collections.abc import Callable
from pathlib import Path
from typing import Literal

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle
from abair_pl.errors import InputError, TrainingError
from abair_pl.models.blend import blend_weights
from abair_pl.modules.estimator import EstimatorModule
from abair_pl.modules.optimization import OptimizationConfig


@pytest.fixture
def make_module(bundle_path: Path, fast: OptimizationConfig, tmp_path: Path) -> Callable[..., EstimatorModule]:
    def make(blend: Literal["one_hot", "soft"] = "soft", restoration_weight: float = 0.0) -> EstimatorModule:
        return EstimatorModule(bundle_path, tmp_path / "bundle", blend, restoration_weight, fast)

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


@pytest.mark.parametrize("blend", ["soft", "one_hot"])
def test_images_are_restored_by_the_blend_of_their_probabilities(
    make_module: Callable[..., EstimatorModule], make_batch: Callable[..., RestorationBatch], blend: str
) -> None:
    module, image = make_module(blend).eval(), make_batch([1, 2]).degraded
    with torch.no_grad():
        weights = blend_weights(module.estimator(image).softmax(dim=1), blend)
        torch.testing.assert_close(module.restore(image), module.restorer(image, weights))


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
    assert saved.config.estimated == list(bundle.config.adapters)
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
