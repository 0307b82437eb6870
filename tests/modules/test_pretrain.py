from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle
from abair_pl.errors import InputError
from abair_pl.losses import segmentation_loss
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule


@pytest.fixture
def module(nano: str, names: list[str], tmp_path: Path, randomize: Callable[..., Any]) -> PretrainModule:
    made: PretrainModule = randomize(PretrainModule(tmp_path / "bundle", nano, names))
    return made


def test_every_parameter_is_trained_by_a_finite_loss(
    module: PretrainModule, make_batch: Callable[..., RestorationBatch]
) -> None:
    result = module.training_result(make_batch([0, 1, 2, 3, 4, 5], side=32))
    result.loss.backward()
    assert result.loss.isfinite()
    assert set(result.parts) == {"restoration", "segmentation", "segmentation_accuracy"}
    unused = [name for name, value in module.named_parameters() if value.grad is None or not value.grad.any()]
    assert unused == []


def test_the_loss_is_the_weighted_sum_of_its_parts(
    nano: str, names: list[str], make_batch: Callable[..., RestorationBatch], tmp_path: Path
) -> None:
    batch = make_batch([1, 2])
    module = PretrainModule(tmp_path, nano, names, segmentation_weight=0.25)
    result = module.training_result(batch)
    expected = segmentation_loss(module.backbone.segment(module.backbone.encode(batch.degraded)), batch.labels)
    torch.testing.assert_close(result.parts["segmentation"], expected)
    torch.testing.assert_close(result.loss, result.parts["restoration"] + 0.25 * expected)


def test_the_papers_five_are_the_default(nano: str, names: list[str], tmp_path: Path) -> None:
    module = PretrainModule(tmp_path, nano)
    assert module.degradations == names
    assert list(module.metric_of) == names


def test_the_loss_is_the_one_that_was_asked_for(nano: str, tmp_path: Path) -> None:
    assert PretrainModule(tmp_path, nano, loss="charbonnier").restoration_loss.kind == "charbonnier"
    with pytest.raises(InputError, match="unknown restoration loss 'l3'"):
        PretrainModule(tmp_path, nano, loss="l3")  # type: ignore[arg-type]


def test_the_floors_of_the_loss_follow_the_schedule(nano: str, tmp_path: Path) -> None:
    optimization = OptimizationConfig(schedule_steps=100)
    module = PretrainModule(tmp_path, nano, loss_floors=(0.05, 0.005), optimization=optimization)
    assert module.restoration_loss.floors == (0.05, 0.005)
    assert module.hparams["loss_floors"] == [0.05, 0.005], "a checkpoint with other floors is not resumed"
    assert module.progress == 0.0
    for step, progress in ((25, 0.25), (200, 1.0)):
        module.trainer = Mock(global_step=step, estimated_stepping_batches=10)
        assert module.progress == progress


def test_unknown_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown preset 'huge'"):
        PretrainModule(tmp_path, "huge")


def test_training_can_start_from_a_bundle(nano: str, names: list[str], backbone_path: Path, tmp_path: Path) -> None:
    module = PretrainModule(tmp_path, nano, names, init_from=backbone_path)
    expected = Bundle.open(backbone_path).backbone().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in module.backbone.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_bundle_of_other_degradations_or_sizes_is_refused(nano: str, backbone_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected nano for \['rain'\]: set --model.preset and --model.degradations"):
        PretrainModule(tmp_path, nano, ["rain"], init_from=backbone_path)
    with pytest.raises(InputError, match=r"has preset nano .* expected tiny"):
        PretrainModule(tmp_path, "tiny", init_from=backbone_path)


def test_panels_show_the_predicted_labels(module: PretrainModule, make_batch: Callable[..., RestorationBatch]) -> None:
    batch = make_batch([1, 2])
    logits = module.backbone.segment(module.backbone.encode(batch.degraded))
    assert torch.equal(module.shown_labels(batch), logits.argmax(dim=1))


def test_the_bundle_carries_preset_degradations_and_facts(module: PretrainModule, names: list[str]) -> None:
    module.save_bundle({"steps": 5})
    bundle = Bundle.open(module.save_to)
    assert bundle.config.preset == "nano"
    assert bundle.config.degradations == names
    assert bundle.config.provenance == {"pretrain": {"steps": 5}}
    saved = bundle.backbone().state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in module.backbone.state_dict().items())


def test_a_preset_without_segmentation_head_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"restormer has no segmentation head; expected --model\.segmentation_weight 0"
    ):
        PretrainModule(tmp_path / "bundle", preset="restormer")


def test_a_folder_of_photographs_is_not_replaced(module: PretrainModule) -> None:
    module.save_to.mkdir()
    (module.save_to / "photo.jpg").touch()
    with pytest.raises(InputError, match="bundle"):
        module.check_save_to()
