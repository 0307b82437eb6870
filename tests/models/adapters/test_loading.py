"""What is wrong with an adapter's files is found when they are read, and not seen in the images."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from abair_pl.bundle import Bundle
from abair_pl.bundle_config import write_config
from abair_pl.errors import BundleError
from abair_pl.models.adapters import adaptable_layers, load_adapter
from abair_pl.models.adapters.base import base_name

named = pytest.mark.parametrize("name", ["rain", "haze", "noise"])
Change = Callable[[dict[str, Tensor]], None]


@pytest.fixture
def error(mixed: Bundle, tmp_path: Path) -> Callable[..., str]:
    """The message for an adapter whose tensors and settings were changed."""

    def read(name: str, change: Change, **settings: Any) -> str:
        folder = Path(shutil.copytree(mixed.path / "adapters" / name, tmp_path / name))
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
        with pytest.raises(BundleError) as caught:
            load_adapter(folder, mixed.config.backbone_sha256, mixed.backbone())
        message = str(caught.value)
        assert message.startswith(f"adapter {folder} cannot be read (")
        assert message.endswith("copy or train it again")
        assert "\n" not in message
        return message

    return read


def first(tensors: dict[str, Tensor], part: str) -> str:
    return next(name for name in tensors if part in name)


@named
def test_a_tensor_that_nobody_reads(name: str, error: Callable[..., str]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["base_model.model.output.weight"] = torch.zeros(2)

    assert "it has base_model.model.output.weight, which" in error(name, change)


@pytest.mark.parametrize(
    ("options", "surplus"), [({"lora_bias": True}, "lora_B.bias"), ({"modules_to_save": ["output"]}, "output.")]
)
def test_what_peft_trains_beside_the_matrices_is_not_left_out(
    options: dict[str, Any], surplus: str, mixed: Bundle, tmp_path: Path
) -> None:
    backbone = mixed.backbone()
    model = get_peft_model(backbone, LoraConfig(r=2, target_modules=adaptable_layers(backbone), **options), "rain")
    model.peft_config["rain"].base_model_name_or_path = base_name(mixed.config.backbone_sha256)
    model.save_pretrained(str(tmp_path), selected_adapters=["rain"], save_embedding_layers=False)
    with pytest.raises(BundleError, match=rf"it has \S*{surplus}\S*, which LoRA.* does not use.*train it again"):
        load_adapter(tmp_path / "rain", mixed.config.backbone_sha256, mixed.backbone())


@named
def test_no_layer_at_all(name: str, error: Callable[..., str]) -> None:
    assert "it updates no layer" in error(name, dict.clear)


@named
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(name: str, value: float, error: Callable[..., str]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[first(tensors, "_d" if name == "haze" else "lora_B")].view(-1)[0] = value

    assert "has values that are not finite" in error(name, change)


@named
@pytest.mark.parametrize("dtype", [torch.complex64, torch.bool, torch.int64])
def test_values_that_are_not_real_numbers(name: str, dtype: torch.dtype, error: Callable[..., str]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        key = first(tensors, "_d" if name == "haze" else "lora_B")
        tensors[key] = tensors[key].to(dtype)

    assert f"holds {str(dtype).removeprefix('torch.')}; expected real numbers" in error(name, change)


@named
def test_a_rank_that_is_not_that_of_the_settings(name: str, error: Callable[..., str]) -> None:
    assert "of rank 9" in error(name, lambda tensors: None, r=9)


@named
@pytest.mark.parametrize("rank", [2.5, True, "2", [2]])
def test_a_rank_that_is_no_whole_number(name: str, rank: Any, error: Callable[..., str]) -> None:
    assert "expected a whole number" in error(name, lambda tensors: None, r=rank)


@pytest.mark.parametrize("alpha", [float("inf"), True])
def test_a_scaling_that_is_no_number(alpha: Any, error: Callable[..., str]) -> None:
    assert "expected a number above 0" in error("rain", lambda tensors: None, lora_alpha=alpha)


def test_a_number_of_experts_that_is_not_that_of_the_settings(error: Callable[..., str]) -> None:
    assert "has 4 experts and 1 gates; expected 2 and 1" in error("noise", lambda tensors: None, experts=2)


def test_a_second_gate(error: Callable[..., str]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        key = first(tensors, "gate_weight")
        tensors[key] = torch.cat([tensors[key]] * 2)

    assert "has 4 experts and 2 gates" in error("noise", change)


@pytest.mark.parametrize(("side", "part"), [("A", "lora_A"), ("B", "lora_B")])
def test_a_layer_of_another_size(side: str, part: str, error: Callable[..., str]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        key, dim = first(tensors, part), 1 if side == "A" else 0
        tensors[key] = tensors[key].narrow(dim, 0, 3).contiguous()

    assert "has an update of " in error("rain", change)


def test_vectors_of_vera_of_another_size(error: Callable[..., str]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        key = first(tensors, "vera_lambda_b")
        tensors[key] = tensors[key][:3].contiguous()

    assert "has an update of 3 x " in error("haze", change)


def test_a_layer_that_adapters_do_not_update(mixed: Bundle, error: Callable[..., str]) -> None:
    backbone = mixed.backbone()
    layer = "fuse.1"
    weight = backbone.get_submodule(layer).weight
    assert isinstance(weight, Tensor)

    def change(tensors: dict[str, Tensor]) -> None:
        tensors[f"base_model.model.{layer}.lora_A.weight"] = torch.zeros(2, weight.shape[1], 1, 1)
        tensors[f"base_model.model.{layer}.lora_B.weight"] = torch.zeros(weight.shape[0], 2, 1, 1)

    assert f"it updates {layer}; expected layers of restoration blocks" in error("rain", change)


def test_opening_a_bundle_names_the_adapter(bundle_copy: Path) -> None:
    file = bundle_copy / "adapters" / "blur" / "adapter_model.safetensors"
    save_file({name: value * torch.nan for name, value in load_file(file).items()}, file)
    config = Bundle.open(bundle_copy).config
    write_config(bundle_copy, replace(config, adapter_files={}))  # as before digests were recorded
    with pytest.raises(BundleError, match=r"adapters/blur cannot be read .*not finite"):
        Bundle.open(bundle_copy).blended()


def test_half_precision_is_read_in_float32(mixed: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mixed.path / "adapters" / "rain", tmp_path / "rain"))
    file = folder / "adapter_model.safetensors"
    save_file({name: value.half() for name, value in load_file(file).items()}, file)
    adapter = load_adapter(folder, mixed.config.backbone_sha256, mixed.backbone())
    assert {update.down.dtype for update in adapter.values()} == {torch.float32}
    assert next(iter(adapter.values())).scaling == 3.0


@pytest.mark.parametrize("kept", [False, True])
def test_pickled_weights_are_never_read(kept: bool, mixed: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mixed.path / "adapters" / "rain", tmp_path / "rain"))
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    digest, backbone = mixed.config.backbone_sha256, mixed.backbone()
    if kept:
        load_adapter(folder, digest, backbone)
        return
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(
        BundleError, match=r"adapter_model\.bin, which would have to be unpickled; expected adapter_model\.saf"
    ):
        load_adapter(folder, digest, backbone)


@pytest.mark.parametrize(
    "settings",
    [
        {"auto_mapping": {"base_model_class": "system", "parent_library": "os"}},
        {"base_model_name_or_path": "somebody/model"},
        {"base_model_name_or_path": ["a"] * 1000},
        {"peft_type": "os.system"},
        {"peft_type": ["LORA"]},
        {"r": 10**9},
        {"r": 10**400},
        {"lora_alpha": 1e300},
        {"rank_pattern": {".*": 10**9}},
        {"corda_config": {"cache_file": "/etc/passwd"}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_import_nothing_and_ask_nobody(
    settings: dict[str, Any], mixed: Bundle, tmp_path: Path, lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = Path(shutil.copytree(mixed.path / "adapters" / "rain", tmp_path / "rain")), len(lookups)
    monkeypatch.setattr("importlib.import_module", lambda *_: pytest.fail("something was imported"))
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    try:
        load_adapter(folder, mixed.config.backbone_sha256, mixed.backbone())
    except BundleError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1000
    else:
        assert settings.keys() & {"auto_mapping", "corda_config"}  # of which nothing is read
    assert lookups[asked:] == []


def test_a_link_out_of_the_folder_is_refused(mixed: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mixed.path / "adapters" / "rain", tmp_path / "rain"))
    file = folder / "adapter_model.safetensors"
    file.rename(tmp_path / file.name)
    file.symlink_to(tmp_path / file.name)
    with pytest.raises(BundleError, match=r"adapter_model\.safetensors leads out of the bundle"):
        load_adapter(folder, mixed.config.backbone_sha256, mixed.backbone())
