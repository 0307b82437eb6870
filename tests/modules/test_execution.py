import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from abair_pl.bundle import Bundle
from abair_pl.models.adapters import LoRA, attach_adapter
from abair_pl.models.backbone import Backbone
from abair_pl.models.layers import RestorationBlock
from abair_pl.modules.execution import ExecutionConfig


def blocks(network: nn.Module) -> list[RestorationBlock]:
    return [module for module in network.modules() if isinstance(module, RestorationBlock)]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that were told to compile themselves."""
    told: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: told.append(self))
    return told


def test_nothing_is_changed_unless_asked_for(make_backbone: Callable[..., Backbone], compiled: list[nn.Module]) -> None:
    backbone = make_backbone()
    ExecutionConfig().apply_to(backbone)
    assert not backbone.checkpointing
    assert compiled == []


def test_every_block_is_compiled_and_names_stay(
    make_backbone: Callable[..., Backbone], compiled: list[nn.Module]
) -> None:
    backbone = make_backbone()
    names = list(backbone.state_dict())
    ExecutionConfig(compile=True).apply_to(backbone)
    assert compiled == blocks(backbone)
    assert list(backbone.state_dict()) == names


def test_a_backbone_with_an_adapter_is_found(bundle: Bundle) -> None:
    model: Any = attach_adapter(bundle.backbone(), "rain", LoRA(), bundle.config.backbone_sha256)
    ExecutionConfig(checkpointing=True).apply_to(model)
    assert model.base_model.model.checkpointing


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_blocks_give_the_same_results_and_gradients(make_backbone: Callable[..., Backbone]) -> None:
    plain, compiled = make_backbone(), make_backbone()
    compiled.load_state_dict(plain.state_dict())
    ExecutionConfig(compile=True, checkpointing=True).apply_to(compiled)
    image = torch.rand(1, 3, 32, 32)
    gradients = []
    for backbone in (plain, compiled):
        restored = backbone(image)
        restored.square().mean().backward()
        gradients.append((restored.detach(), backbone.patch_embed.weight.grad))
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
