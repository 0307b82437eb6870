import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from abair_pl.bundle import Bundle
from abair_pl.errors import BundleError
from abair_pl.models.adapters import LoRA, adaptable_layers, attach_adapter, load_adapter
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.weights import fixed_weights


def test_attaching_freezes_all_but_the_adapter_on_all_adaptable_layers(backbone_path: Path) -> None:
    backbone = Bundle.open(backbone_path).backbone()
    layers = adaptable_layers(backbone)
    model = attach_adapter(backbone, "rain", LoRA(), "0" * 64)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    expected = {f"base_model.model.{layer}.lora_{side}.rain.weight" for layer in layers for side in "AB"}
    assert set(trained) == expected


@pytest.mark.parametrize("name", ["rain", "haze"])
def test_peft_opens_an_adapter_and_computes_the_same(bundle: Bundle, blended: BlendedBackbone, name: str) -> None:
    model = PeftModel.from_pretrained(bundle.backbone(), str(bundle.path / "adapters" / name)).eval()
    image = torch.rand(2, 3, 20, 24)
    with torch.no_grad():
        restored = blended(image, fixed_weights({name: 1.0}, blended.names, 2))
        torch.testing.assert_close(restored, model(image), atol=1e-5, rtol=1e-5)
        assert (restored - blended(image, None)).abs().max() > 1e-2, "the adapter should matter"


def test_rank_and_scaling_are_read_from_the_files(bundle: Bundle) -> None:
    for name, adapter in bundle.adapters().items():
        made = bundle.config.adapters[name]
        assert {update.scaling for update in adapter.values()} == {4.0 / made.rank}
        assert {update.down.shape[0] for update in adapter.values()} == {made.rank}


def test_number_of_parameters_is_what_was_trained(bundle: Bundle, make_adapter: Callable[..., Any]) -> None:
    adapter = bundle.adapters(["rain"])["rain"]
    model = make_adapter(bundle, "rain", bundle.config.adapters["rain"])
    counted = sum(update.down.numel() + update.up.numel() for update in adapter.values())
    assert counted == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_segmentation_does_not_depend_on_the_adapters(bundle: Bundle, blended: BlendedBackbone) -> None:
    image, backbone = torch.rand(1, 3, 24, 24), bundle.backbone()
    with torch.no_grad():
        blended(image, torch.ones(1, 5))
        torch.testing.assert_close(blended.segment(image), backbone.segment(backbone.encode(image)))


@pytest.mark.parametrize("option", ["use_rslora", "use_dora"])
def test_a_kind_of_lora_that_would_be_read_wrongly_is_refused(bundle: Bundle, tmp_path: Path, option: str) -> None:
    folder = Path(shutil.copytree(bundle.path / "adapters" / "rain", tmp_path / "rain"))
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), option: True}))
    with pytest.raises(BundleError, match=f"{option} is True"):
        load_adapter(folder, bundle.config.backbone_sha256, bundle.backbone())
