import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from abair_pl.bundle import Bundle
from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters import (
    AdapterConfig,
    LowRankUpdate,
    adaptable_layers,
    attach_adapter,
    load_adapter,
    stack_updates,
)
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone, fixed_weights


@pytest.fixture
def rain(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the rain adapter's folder."""
    return Path(shutil.copytree(bundle.path / "adapters" / "rain", tmp_path / "rain"))


def test_exactly_pointwise_and_linear_layers_outside_the_head_are_adapted(
    make_backbone: Callable[..., Backbone],
) -> None:
    backbone = make_backbone(window_px=4)
    expected = []
    for name, layer in backbone.named_modules():
        pointwise = isinstance(layer, nn.Conv2d) and layer.weight.shape[2:] == (1, 1) and layer.groups == 1
        if (pointwise or isinstance(layer, nn.Linear)) and "segmentation_head" not in name:
            expected.append(name)
    assert adaptable_layers(backbone) == expected
    kinds = {"encoder.0.0.attn.qkv", "encoder.0.0.spatial_attn.qkv", "encoder.0.0.ffn.project_in", "fuse.1"}
    assert kinds | {"prompt.0.generate.weights", "prompt.0.reduce"} <= set(expected)
    assert not any(name.endswith("dwconv") or name == "patch_embed" for name in expected)


def test_attaching_freezes_all_but_the_adapter_on_all_adaptable_layers(backbone_path: Path) -> None:
    backbone = Bundle.open(backbone_path).backbone()
    layers = adaptable_layers(backbone)
    model = attach_adapter(backbone, "rain", AdapterConfig(), "0" * 64)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    expected = {f"base_model.model.{layer}.lora_{side}.rain.weight" for layer in layers for side in "AB"}
    assert set(trained) == expected


def test_a_new_adapter_changes_nothing(backbone_path: Path) -> None:
    bundle, image = Bundle.open(backbone_path), torch.rand(1, 3, 16, 16)
    model = attach_adapter(bundle.backbone(), "rain", AdapterConfig(), "0" * 64)
    assert torch.equal(model(image), bundle.backbone()(image))


def test_a_training_step_changes_the_adapter_alone(bundle: Bundle, make_adapter: Callable[..., Any]) -> None:
    model = make_adapter(bundle, "rain")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    model(torch.rand(2, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".lora_" in name}


@pytest.mark.parametrize("name", ["rain", "haze"])
def test_peft_opens_an_adapter_and_computes_the_same(bundle: Bundle, blended: BlendedBackbone, name: str) -> None:
    model = PeftModel.from_pretrained(bundle.backbone(), str(bundle.path / "adapters" / name)).eval()
    image = torch.rand(2, 3, 20, 24)
    with torch.no_grad():
        restored = blended(image, fixed_weights({name: 1.0}, blended.names, 2))
        torch.testing.assert_close(restored, model(image), atol=1e-5, rtol=1e-5)
        assert (restored - blended(image, None)).abs().max() > 1e-2, "the adapter should matter"


def test_rank_and_scaling_are_read_from_the_files(bundle: Bundle) -> None:
    digest = bundle.config.backbone_sha256
    for name, made in bundle.config.adapters.items():
        adapter = load_adapter(bundle.path / "adapters" / name, digest)
        assert {update.scaling for update in adapter.values()} == {made.alpha / made.rank}
        assert {update.down.shape[0] for update in adapter.values()} == {made.rank}


def test_number_of_parameters_is_what_was_trained(bundle: Bundle, make_adapter: Callable[..., Any]) -> None:
    adapter = load_adapter(bundle.path / "adapters" / "rain", bundle.config.backbone_sha256)
    model = make_adapter(bundle, "rain", bundle.config.adapters["rain"])
    counted = sum(update.down.numel() + update.up.numel() for update in adapter.values())
    assert counted == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_segmentation_does_not_depend_on_the_adapters(bundle: Bundle, blended: BlendedBackbone) -> None:
    image, backbone = torch.rand(1, 3, 24, 24), bundle.backbone()
    with torch.no_grad():
        blended(image, torch.ones(1, 5))
        torch.testing.assert_close(blended.segment(image), backbone.segment(backbone.encode(image)))


def test_adapter_of_another_backbone_is_refused(rain: Path) -> None:
    with pytest.raises(BundleError, match=r"rain was trained on abair-backbone-\w+; this backbone is .*train it again"):
        load_adapter(rain, "0" * 64)


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


def _half_of_a_pair(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name: value for name, value in load_file(file).items() if "lora_A" in name}, file)


@pytest.mark.parametrize("damage", [_missing, _cut_weights, _no_config, _config_is_a_list, _rank_zero, _half_of_a_pair])
def test_damage_is_a_bundle_error_that_names_the_folder(
    bundle: Bundle, rain: Path, damage: Callable[[Path], None]
) -> None:
    damage(rain)
    with pytest.raises(BundleError, match=str(rain)):
        load_adapter(rain, bundle.config.backbone_sha256)


@pytest.mark.parametrize(("rank", "alpha"), [(0, 4.0), (4, 0.0), (4, -1.0)])
def test_rank_and_alpha_must_be_positive(rank: int, alpha: float) -> None:
    with pytest.raises(InputError, match="above 0"):
        AdapterConfig(rank, alpha)


def update(rank: int, inputs: int = 5, outputs: int = 3, scaling: float = 2.0) -> LowRankUpdate:
    return LowRankUpdate(torch.randn(rank, inputs), torch.randn(outputs, rank), scaling)


def test_stacking_keeps_mixed_ranks_and_skips_absent_adapters() -> None:
    first, last = update(2, scaling=0.5), update(3)
    down, up, owner = stack_updates([first, None, last], 5, 3)
    assert owner.tolist() == [0, 0, 2, 2, 2]

    def delta(part: LowRankUpdate) -> Tensor:
        return part.scaling * part.up @ part.down

    torch.testing.assert_close(up[:, :2] @ down[:2], delta(first))
    torch.testing.assert_close(up @ down, delta(first) + delta(last))


def test_stacking_refuses_an_update_of_another_size() -> None:
    with pytest.raises(BundleError, match="3 x 4, the backbone's 3 x 5"):
        stack_updates([update(2), update(2, inputs=4)], 5, 3)
