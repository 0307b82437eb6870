from typing import Any

import pytest
import torch
from tests.reference.promptir import PromptIR
from tests.reference.restormer import Restormer
from torch import nn

from abair_pl.errors import InputError
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import PRESETS, BackboneConfig, preset_config

VALID: dict[str, Any] = {
    **{"dim": 8, "blocks": (1, 1, 1, 1), "refinement_blocks": 0, "heads": (1, 1, 2, 2)},
    **{"prompt_dims": (4, 4, 4), "prompt_sizes_px": (4, 4, 4), "prompts": 2, "head_dim": 8, "estimator_dim": 4},
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("preset", "least", "most"), [("tiny", 1e6, 2.5e6), ("small", 5e6, 8e6), ("paper", 4e7, 1e8)])
def test_number_of_parameters(preset: str, least: float, most: float) -> None:
    with torch.device("meta"):
        backbone = Backbone(preset_config(preset), labels=6)
    assert least <= count(backbone) <= most


def test_published_networks_have_their_published_sizes() -> None:
    with torch.device("meta"):
        assert count(Restormer()) == 26_126_644  # 26.13 M
        assert count(Backbone(preset_config("restormer"), labels=1)) == 26_126_644
        promptir = PromptIR()
        assert count(promptir) == 35_592_263  # 35.59 M, six layers that are never called among them
        never_called = [
            layer for name, layer in promptir.named_children() if "chnl_reduce" in name or "channel" in name
        ]
        assert len(never_called) == 6
        assert count(Backbone(preset_config("promptir"), labels=1)) == 35_376_967
        assert 35_592_263 - sum(count(layer) for layer in never_called) == 35_376_967


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_runs(preset: str) -> None:
    with torch.device("meta"):
        backbone = Backbone(preset_config(preset), labels=6)
        assert backbone(torch.empty(1, 3, 70, 50)).shape == (1, 3, 70, 50)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown preset 'tinny'; expected one of: tiny, small, paper.*'tiny'\?"):
        preset_config("tinny")


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"blocks": (1, 1, 0, 1)},
        {"refinement_blocks": -1},
        {"unshuffle": 0},
        {"prompts": -1},
        {"head_dim": -1},
        {"head_blocks": -1},
        {"estimator_dim": 0},
        {"window_px": -1},
        {"expansion": 0.0},
        {"prompt_dims": (4, 0, 4)},
        {"prompt_sizes_px": (4, 4, 0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_sizes_below_their_least_are_refused(change: dict[str, Any]) -> None:
    BackboneConfig(**VALID)
    with pytest.raises(InputError, match=r"below 1|expected"):
        BackboneConfig(**{**VALID, **change})


@pytest.mark.parametrize(
    "change",
    [{"dim": 8.0}, {"dim": "8"}, {"prompts": True}, {"heads": (1, 1, 2)}, {"blocks": [1, 1, 1, 1]}, {"gain": 1}],
)
def test_sizes_of_another_type_are_refused(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(InputError, match=f"{name} is .*; expected .*: set it"):
        BackboneConfig(**{**VALID, **change})


@pytest.mark.parametrize("name", ["window_px", "refinement_blocks", "prompts", "head_dim", "head_blocks"])
def test_parts_can_be_left_out(name: str) -> None:
    with torch.device("meta"):
        small, large = (Backbone(BackboneConfig(**{**VALID, name: size}), labels=3) for size in (0, 2))
        assert small(torch.empty(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    assert count(small) < count(large)


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(InputError, match="level 2 has 16 channels and 3 heads"):
        BackboneConfig(**{**VALID, "heads": (1, 3, 2, 2)})


def test_heads_that_do_not_divide_a_prompt_block_are_refused() -> None:
    """Its width is the features' and the prompt's together."""
    odd = {**VALID, "prompt_dims": (4, 4, 3)}
    with pytest.raises(InputError, match="prompt block 3 has 67 channels and 2 heads"):
        BackboneConfig(**odd)
    BackboneConfig(**{**odd, "prompts": 0})


def test_odd_channels_are_refused() -> None:
    """Downsampling halves them before it quadruples them."""
    with pytest.raises(InputError, match="9"):
        BackboneConfig(**{**VALID, "dim": 9, "heads": (1, 1, 1, 1)})


def test_padding_multiple_covers_three_halvings_of_the_unshuffled_image() -> None:
    assert BackboneConfig(**VALID).multiple_px == 8
    assert BackboneConfig(**{**VALID, "unshuffle": 2}).multiple_px == 16
