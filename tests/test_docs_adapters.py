"""What docs/adapters.md says is what the package does."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from abair_pl.bundle import Bundle, save_adapter
from abair_pl.cli import _functions
from abair_pl.models import adapters
from abair_pl.models.adapters import AdapterMethod, ConvLoRA, LoRA, VeRA, attach_adapter
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config

PAGE = (Path(__file__).parents[1] / "docs" / "adapters.md").read_text()


@pytest.mark.parametrize("method", [LoRA(), VeRA(), ConvLoRA()], ids=lambda method: method.name)
def test_table_gives_the_number_of_parameters(method: AdapterMethod) -> None:
    with torch.device("meta"):
        model = attach_adapter(Backbone(preset_config("paper"), 6), "rain", method, "0" * 64)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{type(method).__name__}`")]
    assert f"| {trained:,} |" in row


def test_commands_are_all_there() -> None:
    assert re.findall(r"^abair-pl adapters (\w+)", PAGE, re.MULTILINE) == list(_functions("adapters"))


def test_settings_are_understood() -> None:
    first = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])["model"]["init_args"]["adapter"]
    method = getattr(adapters, first["class_path"].rpartition(".")[2])(**first["init_args"])
    assert method == ConvLoRA()


@pytest.mark.parametrize("method", [LoRA(), VeRA()], ids=lambda method: method.name)
def test_peft_opens_the_folder(method: AdapterMethod, backbone_path: Path, tmp_path: Path) -> None:
    base = Bundle.open(backbone_path)
    model = attach_adapter(base.backbone(), "rain", method, base.config.backbone_sha256)
    save_adapter(tmp_path / "bundle", base, "rain", model, method, {})
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (shown,) = re.findall(rf".*# {type(method).__name__}$", code, re.MULTILINE)
    setup = code.replace("runs/adapters/bundle", str(tmp_path / "bundle")).partition("model =")[0]
    names: dict[str, object] = {}
    exec(compile(f"{setup}{shown}", "docs/adapters.md", "exec"), names)  # noqa: S102 - the page's own example
    opened = names["model"]
    assert isinstance(opened, torch.nn.Module)
    assert any(method.trained[0] in name for name, _ in opened.named_parameters())
