import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle
from abair_pl.cli import main
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters import AdapterMethod, ConvLoRA, LoRA, VeRA
from abair_pl.models.weights import fixed_weights
from abair_pl.modules.adapter import AdapterModule
from abair_pl.modules.optimization import OptimizationConfig

CONFIG = str(Path(__file__).parents[2] / "configs" / "adapter.yaml")
METHODS: list[AdapterMethod] = [LoRA(rank=3, alpha=6.0), VeRA(rank=5, seed=2), ConvLoRA(rank=3, experts=2)]


@pytest.fixture(params=METHODS, ids=lambda method: method.name)
def method(request: pytest.FixtureRequest) -> AdapterMethod:
    made: AdapterMethod = request.param
    return made


@pytest.fixture
def module(backbone_path: Path, fast: OptimizationConfig, tmp_path: Path, method: AdapterMethod) -> AdapterModule:
    return AdapterModule(backbone_path, tmp_path / "bundle", "dust", method, fast)


@pytest.fixture
def dusty(make_batch: Callable[..., RestorationBatch]) -> list[RestorationBatch]:
    return [make_batch([1, 1, 0], seed=seed) for seed in range(3)]


def test_gradients_reach_the_adapter_alone(module: AdapterModule, dusty: list[RestorationBatch]) -> None:
    result = module.training_result(dusty[0])
    result.loss.backward()
    assert result.loss.isfinite()
    touched = {name for name, value in module.named_parameters() if value.grad is not None}
    assert touched == {name for name, _ in module.named_parameters() if module.is_trained(name)}
    assert touched == {name for name, value in module.named_parameters() if value.requires_grad}
    assert all(value.grad.isfinite().all() for value in module.parameters() if value.grad is not None)


def test_a_new_degradation_names_adapter_labels_and_metrics(module: AdapterModule) -> None:
    assert module.degradations == ["dust"]
    assert list(module.metric_of) == ["dust"]


def test_fit_trains_the_adapter_and_leaves_the_backbone(
    module: AdapterModule,
    method: AdapterMethod,
    dusty: list[RestorationBatch],
    backbone_path: Path,
    fit: Callable[..., L.Trainer],
) -> None:
    before = {name: value.clone() for name, value in module.named_parameters()}
    fit(module, [*dusty, *dusty])
    changed = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if module.is_trained(name)}
    base, bundle = Bundle.open(backbone_path), Bundle.open(module.save_to)
    assert file_sha256(bundle.path / "backbone.safetensors") == base.config.backbone_sha256
    assert base.config.adapters == {}
    assert bundle.config.adapters == {"dust": method}
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


@pytest.mark.parametrize("name", ["Rain", "soft", "rain-streaks", ""])
def test_a_name_that_cannot_be_an_adapters_is_refused(backbone_path: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' cannot name an adapter; expected small letters"):
        AdapterModule(backbone_path, tmp_path / "bundle", name)


def test_hyper_parameters_are_plain(module: AdapterModule, method: AdapterMethod) -> None:
    assert json.loads(json.dumps(module.hparams["adapter"])) == method.settings()


@pytest.mark.parametrize(
    ("options", "class_name", "settings"),
    [
        ("", "LoRA", {"rank": 4, "alpha": 4.0}),
        ("--model.adapter.rank 32 --model.adapter.alpha 32", "LoRA", {"rank": 32, "alpha": 32.0}),
        ("--model.adapter VeRA --model.adapter.rank 16", "VeRA", {"rank": 16, "seed": 0}),
        ("--model.adapter ConvLoRA --model.adapter.experts 8", "ConvLoRA", {"rank": 4, "alpha": 4.0, "experts": 8}),
        (
            "--model.adapter.class_path abair_pl.models.adapters.VeRA --model.adapter.init_args.seed 3",
            "VeRA",
            {"rank": 4, "seed": 3},
        ),
    ],
)
def test_the_command_line_chooses_the_method(
    options: str, class_name: str, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", CONFIG, *options.split(), "--print_config"]) == 0
    adapter = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["adapter"]
    assert adapter == {"class_path": f"abair_pl.models.adapters.{class_name}", "init_args": settings}


def test_a_setting_that_the_method_lacks_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", CONFIG, "--model.adapter", "VeRA", "--model.adapter.alpha", "2"]) == 2
    assert "'alpha' is not accepted" in capsys.readouterr().err
