"""What a bundle gives back, and how it names its damage; writing is in test_bundle_writes.py."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from abair_pl.bundle import Bundle, check_target, save_backbone, save_estimator
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError, InputError
from abair_pl.models.backbone import Backbone
from abair_pl.models.calibration import Calibration
from abair_pl.models.estimator import Estimator

DAMAGED: dict[str, str | dict[str, Any]] = {
    "not JSON": "{",
    "not an object": "[]",
    "not text": "\udcff",
    "a key is missing": {"backbone_sha256": None},
    "a key is unknown": {"surplus": 1},
    "no architecture": {"architecture": None},
    "an impossible architecture": {"architecture": {"dim": 0, "blocks": [1, 1, 1, 1], "refinement_blocks": 1}},
    "an adapter without facts": {"adapters": {"rain": None}},
    "an impossible temperature": {"calibration": {"temperature": 0.0}},
    "a threshold that is no number": {"calibration": {"threshold": "high"}},
    "an adapter of no method": {"adapters": {"rain": {"rank": 4, "alpha": 4.0}}},
    "an adapter with a surplus setting": {"adapters": {"rain": {"method": "vera", "alpha": 4.0}}},
    "an adapter outside of the bundle": {"adapters": {"../../victim": {"method": "lora", "rank": 4, "alpha": 4.0}}},
    "an adapter with a rank that is no number": {"adapters": {"rain": {"method": "lora", "rank": "4", "alpha": 4.0}}},
    "degradations that are no list": {"degradations": "rain"},
    "degradations that are no names": {"degradations": [1, 2, 3, 4, 5]},
    "a digest that is no text": {"backbone_sha256": 7},
    "a digest of the estimator that is no text": {"estimator_sha256": []},
    "a temperature that is no number": {"calibration": {"temperature": True}},
    "a temperature beyond numbers": {"calibration": {"temperature": 10**400}},
    "a bias of another length": {"calibration": {"bias": [1.0, 2.0]}},
    "a bias by label": {"calibration": {"bias": {"clean": 1.0}}},
    "a bias that is no list": {"calibration": {"bias": None}},
    "a bias of switches": {"calibration": {"bias": [True, True, True, True, True, True]}},
    "a bias of texts": {"calibration": {"bias": ["1", "1", "1", "1", "1", "1"]}},
    "a bias beyond numbers of the network": {"calibration": {"bias": [1e39, 0.0, 0.0, 0.0, 0.0, 0.0]}},
    "a provenance that is a list": {"provenance": []},
    "a phase of another type": {"provenance": {"pretrain": 3}},
    "a preset that is no name": {"preset": 3},
    "an estimated adapter without digest": {"estimated": {"rain": None}},
    "estimated adapters of another type": {"estimated": [[]]},
    "adapters in a list": {"adapters": ["rain"]},
    "an impossible adapter": {"adapters": {"rain": {"method": "lora", "rank": 0, "alpha": 4.0}}},
}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def test_backbone_round_trip(make_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    backbone = make_backbone(3, seed=1)
    bundle = save_backbone(tmp_path / "made" / "bundle", backbone, "nano", ["rain", "haze"], {"steps": 7})
    assert bundle == Bundle.open(bundle.path)
    assert bundle.config.architecture == backbone.architecture
    assert bundle.config.degradations == ["rain", "haze"]
    assert bundle.config.provenance == {"pretrain": {"steps": 7}}
    assert bundle.config.backbone_sha256 == file_sha256(bundle.path / "backbone.safetensors")
    loaded = bundle.backbone().state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in backbone.state_dict().items())


def test_weights_are_stored_in_float32(make_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    save_backbone(tmp_path / "bundle", make_backbone(2).bfloat16(), "nano", ["rain"], {})
    tensors = load_file(tmp_path / "bundle" / "backbone.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_adapter_round_trip(bundle: Bundle, make_adapter: Callable[..., Any]) -> None:
    config = bundle.config.adapters["haze"]
    model = make_adapter(bundle, "haze", config, seed=1)  # as the fixture made it
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    adapter = bundle.adapters(["haze"])["haze"]
    assert len(trained) == 2 * len(adapter)
    for name, update in adapter.items():
        for side, tensor in (("A", update.down), ("B", update.up)):
            torch.testing.assert_close(tensor, trained[f"base_model.model.{name}.lora_{side}.haze.weight"].flatten(1))


def test_estimator_round_trip(bundle_copy: Path) -> None:
    estimator, calibration = Estimator(4, 6), Calibration(temperature=1.25, threshold=-0.5)
    bundle = save_estimator(bundle_copy, Bundle.open(bundle_copy), estimator, {"steps": 9}, calibration)
    assert bundle.config.calibration == calibration
    assert bundle.config.estimator_sha256 == file_sha256(bundle_copy / "estimator.safetensors")
    assert bundle.config.provenance["estimator"] == {"steps": 9}
    loaded = bundle.estimator().state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in estimator.state_dict().items())


def test_adapters_keep_their_order(bundle: Bundle, names: list[str]) -> None:
    assert list(bundle.adapters()) == list(bundle.config.adapters) == bundle.blended().names == names
    assert list(bundle.adapters(["blur", "rain"])) == ["blur", "rain"]


def test_a_missing_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=rf"no bundle at {tmp_path}.*abair-pl fit --config configs/pretrain.yaml"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_configuration_is_named(bundle_copy: Path, damage: str) -> None:
    file, change = bundle_copy / "config.json", DAMAGED[damage]
    if isinstance(change, str):
        file.write_bytes(change.encode(errors="surrogateescape"))
    else:
        values = {**json.loads(file.read_text()), **change}
        values = {name: value for name, value in values.items() if value is not None or name != "backbone_sha256"}
        file.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=str(file)):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize(
    "change",
    [
        *({"dim": 8.0}, {"dim": True}, {"blocks": [1, 1]}, {"blocks": "1111"}, {"heads": [1, 1, 2.0, 2]}, {"gain": 1}),
        *({"expansion": "2"}, {"expansion": float("nan")}, {"prompts": None}, {"prompt_dims": [4, 4, 4, 4]}),
    ],
    ids=str,
)
def test_a_size_of_another_type_is_named(bundle_copy: Path, change: dict[str, Any]) -> None:
    file, (name,) = bundle_copy / "config.json", change
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "architecture": {**values["architecture"], **change}}))
    with pytest.raises(BundleError, match=rf"config\.json is damaged \({name} is .*; expected "):
        Bundle.open(bundle_copy)


def test_a_digest_of_null_is_damage(bundle_copy: Path) -> None:
    file = bundle_copy / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "backbone_sha256": None}))
    with pytest.raises(BundleError, match=r"is damaged \(backbone_sha256 is null"):
        Bundle.open(bundle_copy)


def test_memory_is_taken_for_the_right_file_alone(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle_copy / "backbone.safetensors").write_bytes(b"another")
    monkeypatch.setattr("abair_pl.bundle.Backbone", lambda *_: pytest.fail("the backbone was made"))
    with pytest.raises(BundleError, match="has sha256"):
        Bundle.open(bundle_copy).backbone()


def exchange(bundle: Path) -> None:
    """Give one adapter the weights of another, of the same rank."""
    shutil.copy(bundle / "adapters" / "rain" / "adapter_model.safetensors", bundle / "adapters" / "noise")


def test_an_estimator_of_other_weights_is_out_of_date(bundle_copy: Path) -> None:
    assert Bundle.open(bundle_copy).estimator_is_current
    exchange(bundle_copy)
    bundle = Bundle.open(bundle_copy)
    assert not bundle.estimator_is_current
    with pytest.raises(BundleError, match=r"as they were before, its adapters are rain, .*; run phase III"):
        bundle.estimator()
    save_estimator(bundle_copy, bundle, Estimator(4, 6), {}).estimator()


def test_an_estimator_from_before_weights_counted_is_out_of_date(bundle_copy: Path, names: list[str]) -> None:
    file = bundle_copy / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "estimated": names}))
    bundle = Bundle.open(bundle_copy)
    assert list(bundle.config.estimated) == names
    assert not bundle.estimator_is_current


def test_a_missing_adapter_file_is_a_bundle_error_when_a_target_is_checked(bundle: Bundle, bundle_copy: Path) -> None:
    file = bundle_copy / "adapters" / "haze" / "adapter_model.safetensors"
    file.unlink()
    assert not Bundle.open(bundle_copy).estimator_is_current
    with pytest.raises(BundleError, match=f"{file} is missing"):
        check_target(bundle_copy, bundle, with_adapters=True)


def test_another_version_is_named_whatever_it_holds(bundle_copy: Path) -> None:
    file = bundle_copy / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 4, "an_idea_of_version_4": True}))
    with pytest.raises(BundleError, match=r"config.json has version 4, expected 3: it was written by another version"):
        Bundle.open(bundle_copy)


def test_a_bundle_of_before_biases_is_read(bundle: Bundle, bundle_copy: Path) -> None:
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    del values["calibration"]["bias"]
    file.write_text(json.dumps({**values, "version": 2}))
    assert Bundle.open(bundle_copy).config == bundle.config


@pytest.mark.parametrize("name", ["backbone.safetensors", "estimator.safetensors"])
@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "missing"])
def test_damaged_weights_are_named(bundle_copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(bundle_copy / name)
    bundle = Bundle.open(bundle_copy)
    with pytest.raises(BundleError, match=str(bundle_copy / name)):
        bundle.backbone() if name.startswith("backbone") else bundle.estimator()


def test_backbone_of_another_training_is_refused(bundle_copy: Path, make_backbone: Callable[..., Backbone]) -> None:
    other = save_backbone(bundle_copy.parent / "other", make_backbone(seed=3), "nano", ["rain"] * 5, {})
    shutil.copy(other.path / "backbone.safetensors", bundle_copy)
    with pytest.raises(BundleError, match=r"backbone\.safetensors has sha256"):
        Bundle.open(bundle_copy).backbone()


def test_weights_of_another_architecture_name_the_first_that_differs(bundle_copy: Path) -> None:
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "architecture": {**values["architecture"], "head_dim": 4, "prompts": 3}}))
    message = (
        r"backbone\.safetensors is .*has \(2, 4, 4, 4\) as prompt\.0\.generate\.components, .* expects \(3, 4, 4, 4\)"
    )
    with pytest.raises(BundleError, match=message):
        Bundle.open(bundle_copy).backbone()
    file.write_text(json.dumps({**values, "architecture": {**values["architecture"], "window_px": 4}}))
    with pytest.raises(BundleError, match=r"has nothing as decoder\.0\.0\.spatial_attn\.position_bias"):
        Bundle.open(bundle_copy).backbone()


def test_labels_that_are_not_those_of_the_degradations_are_refused(
    make_backbone: Callable[..., Backbone], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the backbone has 6 labels; expected clean, rain"):
        save_backbone(tmp_path / "bundle", make_backbone(6), "nano", ["rain"], {})
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "missing"])
def test_damaged_adapter_is_named(bundle_copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(bundle_copy / "adapters" / "noise" / name)
    with pytest.raises(BundleError, match=str(bundle_copy / "adapters" / "noise")):
        Bundle.open(bundle_copy).adapters()


def test_unknown_adapter_names_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no adapter 'snow'; it has: rain, haze, noise, blur, low_light"):
        bundle.adapters(["snow"])


def test_a_folder_without_a_name_is_a_folder(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle_path)
    assert Bundle.open(".").config == Bundle.open(bundle_path).config
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="no bundle"):
        Bundle.open(".")
