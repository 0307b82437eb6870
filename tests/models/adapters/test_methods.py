"""What all adapter methods have in common."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from abair_pl.bundle import Bundle
from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters import (
    AdapterMethod,
    ConvLoRA,
    LoRA,
    VeRA,
    adaptable_layers,
    adapter_method,
    attach_adapter,
    load_adapter,
    read_method,
)
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config
from abair_pl.models.weights import fixed_weights

ALL: list[AdapterMethod] = [LoRA(rank=2), VeRA(rank=5), ConvLoRA(rank=2, experts=3)]
each = pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
named = pytest.mark.parametrize("name", ["rain", "haze", "noise", "blur"])


def test_exactly_the_pointwise_convolutions_of_blocks_and_tone_are_adapted(
    make_backbone: Callable[..., Backbone],
) -> None:
    layers = set(adaptable_layers(make_backbone(window_px=4)))
    block = {"attn.qkv", "attn.project_out", "ffn.project_in", "ffn.project_out"}
    windows = {"spatial_attn.qkv", "spatial_attn.project_out"}
    places = {f"{part}.{level}.0" for part, levels in (("encoder", 4), ("decoder", 3)) for level in range(levels)}
    expected = {f"{place}.{name}" for place in (*places, "refinement.0") for name in block | windows}
    expected |= {f"prompt.{level}.interact.{name}" for level in range(3) for name in block}
    expected |= {f"tone_head.{name}" for name in ("describe", "mix", "predict")}
    assert layers == expected


@pytest.mark.parametrize(("rank", "millions"), [(4, 3.6), (8, 7.2), (16, 14.3)])
def test_five_adapters_of_the_paper_have_its_number_of_parameters(rank: int, millions: float) -> None:
    with torch.device("meta"):
        model = attach_adapter(Backbone(preset_config("paper"), 6), "rain", LoRA(rank=rank), "0" * 64)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert 5 * trained == pytest.approx(millions * 1e6, rel=0.03)
    assert trained == 733_744 * rank // 4


@each
def test_a_new_adapter_changes_nothing(backbone_path: Path, method: AdapterMethod) -> None:
    bundle, image = Bundle.open(backbone_path), torch.rand(1, 3, 16, 16)
    model = attach_adapter(bundle.backbone(), "rain", method, "0" * 64)
    torch.testing.assert_close(model(image), bundle.backbone()(image), atol=1e-6, rtol=1e-6)


@each
def test_a_training_step_changes_all_of_the_adapter_and_nothing_else(
    bundle: Bundle, make_adapter: Callable[..., Any], method: AdapterMethod
) -> None:
    model = make_adapter(bundle, "rain", method).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if any(part in name for part in method.trained)}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    # Many images, so that each expert is picked by some.
    (model(torch.rand(32, 3, 16, 16)) - torch.rand(32, 3, 16, 16)).square().mean().backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == trained


@named
def test_what_is_read_restores_as_what_was_trained(
    mixed: Bundle, make_adapter: Callable[..., Any], methods: dict[str, AdapterMethod], name: str
) -> None:
    index = list(methods).index(name)
    trained, blended = make_adapter(mixed, name, methods[name], index), mixed.blended().eval()
    image = torch.rand(3, 3, 20, 24)
    with torch.no_grad():
        restored = blended(image, fixed_weights({name: 1.0}, blended.names, 3))
        torch.testing.assert_close(restored, trained(image), atol=1e-5, rtol=1e-5)
        assert (restored - blended(image, None)).abs().max() > 1e-3, "the adapter should matter"


@named
def test_training_goes_on_from_a_saved_adapter(
    mixed: Bundle, make_adapter: Callable[..., Any], methods: dict[str, AdapterMethod], name: str
) -> None:
    index = list(methods).index(name)
    folder, digest = mixed.path / "adapters" / name, mixed.config.backbone_sha256
    model = attach_adapter(mixed.backbone(), name, methods[name], digest, folder).eval()
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(image), make_adapter(mixed, name, methods[name], index)(image))


def test_training_does_not_go_on_from_an_adapter_made_in_another_way(mixed: Bundle) -> None:
    folder, digest = mixed.path / "adapters" / "rain", mixed.config.backbone_sha256
    message = r"rain was made by LoRA\(rank=2, alpha=6.0\); expected LoRA\(rank=2, alpha=5.0\)"
    with pytest.raises(BundleError, match=message):
        attach_adapter(mixed.backbone(), "rain", LoRA(rank=2, alpha=5.0), digest, folder)


@named
def test_the_folder_tells_how_it_was_made(mixed: Bundle, methods: dict[str, AdapterMethod], name: str) -> None:
    folder = mixed.path / "adapters" / name
    assert read_method(folder, mixed.config.backbone_sha256, mixed.backbone()) == methods[name]
    assert mixed.config.adapters[name] == methods[name]
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


@each
def test_settings_are_plain_and_make_the_method_again(method: AdapterMethod) -> None:
    settings = json.loads(json.dumps(method.settings()))
    assert settings["method"] == method.name
    assert adapter_method(settings) == method


def test_settings_of_lora_are_what_bundles_document() -> None:
    assert LoRA().settings() == {"method": "lora", "rank": 4, "alpha": 4.0}


def test_opening_a_bundle_and_reading_adapters_imports_no_peft(mixed: Bundle) -> None:
    probe = (
        "import sys; from abair_pl.bundle import Bundle; "
        f"Bundle.open({str(mixed.path)!r}).blended(); sys.exit('peft' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr or "PEFT was imported"


def test_an_unknown_method_names_the_known_ones_and_is_not_imported(bundle_copy: Path) -> None:
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    values["adapters"]["rain"] = {"method": "antigravity", "rank": 4}
    file.write_text(json.dumps(values))
    message = "unknown adapter method 'antigravity'; expected one of: .*lora.*; import the module of its class first"
    with pytest.raises(BundleError, match=message):
        Bundle.open(bundle_copy)
    assert "antigravity" not in sys.modules


def test_a_method_of_ones_own_is_known_once_it_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AdapterMethod, "known", dict(AdapterMethod.known))

    @dataclass(frozen=True)
    class Own(LoRA):
        """LoRA by another name."""

        name: ClassVar[str] = "own"

    assert adapter_method({"method": "own", "rank": 3, "alpha": 1.0}) == Own(3, 1.0)


def test_a_name_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AdapterMethod, "known", dict(AdapterMethod.known))
    with pytest.raises(InputError, match=r"adapter method 'lora' is abair_pl\.models\.adapters\.lora\.LoRA; choose"):
        type("Other", (LoRA,), {"name": "lora"})


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (lambda: LoRA(rank=0), "rank is 0"),
        (lambda: LoRA(alpha=0.0), "alpha is 0.0"),
        (lambda: VeRA(rank=-1), "rank is -1"),
        (lambda: ConvLoRA(alpha=-1.0), "alpha is -1.0"),
        (lambda: ConvLoRA(experts=0), "experts is 0"),
    ],
)
def test_settings_must_be_positive(make: Callable[[], AdapterMethod], setting: str) -> None:
    with pytest.raises(InputError, match=f"the adapter's {setting}; expected a number above 0"):
        make()


@named
def test_adapter_of_another_backbone_is_refused(mixed: Bundle, name: str) -> None:
    message = rf"{name} was trained on abair-backbone-\w+; this backbone is .*train it again"
    with pytest.raises(BundleError, match=message):
        load_adapter(mixed.path / "adapters" / name, "0" * 64, nn.Module())


def _missing(folder: Path) -> None:
    shutil.rmtree(folder)


def _cut_weights(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def _no_config(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{")


def _config_is_a_list(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("[]")


def _rank_zero(folder: Path) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "r": 0}))


def _half(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensors[name] for name in list(tensors)[::2]}, file)


def _other_layers(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name.replace("encoder.1", "encoder.9"): value for name, value in load_file(file).items()}, file)


def _another_type(folder: Path) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "peft_type": "ADALORA"}))


@named
@pytest.mark.parametrize(
    "damage", [_missing, _cut_weights, _no_config, _config_is_a_list, _rank_zero, _half, _other_layers, _another_type]
)
def test_damage_is_a_bundle_error_that_names_the_folder(
    mixed: Bundle, tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    folder = Path(shutil.copytree(mixed.path / "adapters" / name, tmp_path / name))
    damage(folder)
    with pytest.raises(BundleError, match=str(folder)):
        load_adapter(folder, mixed.config.backbone_sha256, mixed.backbone())
