import re

import pytest
import torch
from tests.reference.promptir import PromptIR
from tests.reference.restormer import Restormer
from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.models.published import Published, published_backbone

State = dict[str, Tensor]


@pytest.fixture
def state() -> State:
    """Restormer's, by name and shape."""
    with torch.device("meta"):
        return dict(Restormer().state_dict())


@pytest.fixture
def prompted() -> State:
    """PromptIR's, by name and shape."""
    with torch.device("meta"):
        return dict(PromptIR().state_dict())


def refusal(network: Published, state: State) -> str:
    with pytest.raises(InputError) as caught:
        published_backbone(network, state)
    return str(caught.value)


def test_norms_are_told_by_their_biases() -> None:
    centred, plain = (published_backbone("restormer", Restormer(norm).state_dict()) for norm in (True, False))
    assert centred.architecture.centred_norm
    assert not plain.architecture.centred_norm
    assert centred.segmentation_head is None


def test_another_checkpoint_is_told_three_differences_and_how_many_more(state: State) -> None:
    surplus = {f"extra.{index}": torch.empty(1) for index in range(7)}
    message = refusal("restormer", {**state, **surplus})
    assert re.search(r"extra\.0 is unexpected; extra\.1 is unexpected; extra\.2 is unexpected; and 4 more;", message)
    assert "\n" not in message
    assert "docs/known-weights.md" in message


def test_missing_tensors(state: State) -> None:
    del state["latent.7.attn.temperature"]
    message = refusal("restormer", state)
    assert "does not fit restormer: latent.7.attn.temperature is missing; expected" in message


def test_grayscale(state: State) -> None:
    state["patch_embed.proj.weight"] = torch.empty(48, 1, 3, 3)
    state["output.weight"] = torch.empty(1, 96, 3, 3)
    message = refusal("restormer", state)
    assert "patch_embed.proj.weight is (48, 1, 3, 3) instead of (48, 3, 3, 3)" in message
    assert "output.weight is (1, 96, 3, 3) instead of (3, 96, 3, 3)" in message


def test_dual_pixel(state: State) -> None:
    state["patch_embed.proj.weight"] = torch.empty(48, 6, 3, 3)
    state["skip_conv.weight"] = torch.empty(96, 48, 1, 1)
    message = refusal("restormer", state)
    assert "patch_embed.proj.weight is (48, 6, 3, 3)" in message
    assert "skip_conv.weight is unexpected" in message


def test_prompts_of_another_size(prompted: State) -> None:
    prompted["prompt3.prompt_param"] = torch.empty(1, 5, 320, 8, 8)
    message = refusal("promptir", prompted)
    assert "prompt3.prompt_param is (1, 5, 320, 8, 8) instead of (1, 5, 320, 16, 16);" in message


def test_promptir_without_prompts(prompted: State, state: State) -> None:
    without = {name: value for name, value in prompted.items() if not name.startswith("prompt")}
    assert "decoder=True" in refusal("promptir", without)
    message = refusal("promptir", {**state, "extra": torch.empty(1)})
    assert "--from restormer" in message
    assert re.search(r"has no prompts: .* instead of .*; and \d+ more; expected PromptIR", message)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value: float) -> None:
    state = Restormer().state_dict()
    state["latent.7.attn.temperature"][0] = value
    assert "latent.7.attn.temperature has values that are not finite" in refusal("restormer", state)


def test_promptir_is_not_restormer(prompted: State) -> None:
    assert re.search(r"prompt.* and \d+ more", refusal("restormer", prompted))


def test_layers_that_are_never_called_are_optional() -> None:
    state = PromptIR().state_dict()
    unused = {name for name in state if name.startswith(("chnl_reduce", "reduce_noise_channel"))}
    assert len(unused) == 6
    with_them = published_backbone("promptir", state).state_dict()
    without = published_backbone("promptir", {name: state[name] for name in state.keys() - unused}).state_dict()
    assert all(torch.equal(value, without[name]) for name, value in with_them.items())
