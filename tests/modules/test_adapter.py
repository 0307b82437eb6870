from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError
from abair_pl.models.adapters import AdapterConfig
from abair_pl.models.blend import fixed_weights
from abair_pl.modules.adapter import AdapterModule
from abair_pl.modules.optimization import OptimizationConfig


@pytest.fixture
def module(backbone_path: Path, fast: OptimizationConfig, tmp_path: Path) -> AdapterModule:
    return AdapterModule(backbone_path, tmp_path / "bundle", "dust", AdapterConfig(rank=3, alpha=6.0), fast)


@pytest.fixture
def dusty(make_batch: Callable[..., RestorationBatch]) -> list[RestorationBatch]:
    return [make_batch([1, 1, 0], seed=seed) for seed in range(3)]


def test_gradients_reach_the_adapter_alone(module: AdapterModule, dusty: list[RestorationBatch]) -> None:
    result = module.training_result(dusty[0])
    result.loss.backward()
    assert result.loss.isfinite()
    touched = {name for name, value in module.named_parameters() if value.grad is not None}
    assert touched == {name for name, _ in module.named_parameters() if ".lora_" in name}
    assert all(value.grad.isfinite().all() for value in module.parameters() if value.grad is not None)


def test_a_new_degradation_names_adapter_labels_and_metrics(module: AdapterModule) -> None:
    assert module.degradations == ["dust"]
    assert list(module.metric_of) == ["dust"]


def test_fit_trains_the_adapter_and_leaves_the_backbone(
    module: AdapterModule, dusty: list[RestorationBatch], backbone_path: Path, fit: Callable[..., L.Trainer]
) -> None:
    before = {name: value.clone() for name, value in module.named_parameters()}
    fit(module, [*dusty, *dusty])
    changed = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".lora_" in name}
    base, bundle = Bundle.open(backbone_path), Bundle.open(module.save_to)
    assert file_sha256(bundle.path / "backbone.safetensors") == base.config.backbone_sha256
    assert base.config.adapters == {}
    assert bundle.config.adapters == {"dust": AdapterConfig(rank=3, alpha=6.0)}
    assert bundle.config.provenance["adapter/dust"]["steps"] == 6


def test_the_saved_adapter_restores_as_the_trained_one(
    module: AdapterModule, dusty: list[RestorationBatch], fit: Callable[..., L.Trainer]
) -> None:
    fit(module, dusty)
    blended = Bundle.open(module.save_to).blended()
    image = dusty[0].degraded
    with torch.no_grad():
        expected = module.eval().restore(image)
        restored = blended(image, fixed_weights({"dust": 1.0}, blended.names, len(image)))
        torch.testing.assert_close(restored, expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(restored, blended(image, None), atol=1e-4)


def test_adapters_gather_in_one_bundle(
    backbone_path: Path, dusty: list[RestorationBatch], fit: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    for name in ("rain", "dust"):
        fit(AdapterModule(backbone_path, tmp_path / "bundle", name), dusty[:1])
    assert list(Bundle.open(tmp_path / "bundle").adapters()) == ["rain", "dust"]


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"no bundle at {tmp_path}"):
        AdapterModule(tmp_path, tmp_path / "bundle", "rain")


def test_an_adapter_of_the_bundle_is_where_training_starts(bundle: Bundle, tmp_path: Path) -> None:
    module = AdapterModule(bundle.path, tmp_path / "out", "haze", bundle.config.adapters["haze"])
    image = torch.rand(1, 3, 32, 32)
    weights = fixed_weights({"haze": 1.0}, list(bundle.config.adapters), 1)
    with torch.no_grad():
        torch.testing.assert_close(module.restore(image), bundle.blended()(image, weights), atol=1e-5, rtol=1e-5)
