"""Weights and an optimizer's state that come back as they were."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from abair_pl.modules.last_good import LastGood

INPUTS = torch.linspace(-1.0, 1.0, 12).reshape(4, 3)


def make() -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(3, 2)


def step(layer: nn.Module, optimizer: Optimizer, times: int = 1) -> None:
    for _ in range(times):
        optimizer.zero_grad()
        layer(INPUTS).square().mean().backward()
        optimizer.step()


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": lambda parameters: AdamW(parameters, lr=0.1),
    "momentum": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_training_goes_on_from_there_as_if_nothing_had_been(make_optimizer: Callable[..., Optimizer]) -> None:
    """More than once: what comes back is not changed by the steps after it."""
    layer = make()
    optimizer = make_optimizer(layer.parameters())
    step(layer, optimizer, 3)
    kept = LastGood()
    kept.remember(layer.parameters(), optimizer)
    ends: list[dict[str, Tensor]] = []
    for _ in range(3):
        step(layer, optimizer, 4)
        ends.append(deepcopy(layer.state_dict()))
        with torch.no_grad():
            layer.weight.fill_(torch.nan)
        step(layer, optimizer, 2)
        kept.bring_back(layer.parameters(), optimizer)
    for end in ends[1:]:
        assert all(torch.equal(end[name], ends[0][name]) for name in end)
    assert not torch.equal(ends[0]["weight"], layer.weight)


def test_the_same_tensors_are_filled() -> None:
    """An optimizer, and what wraps the module, still hold them; a gradient is not followed through the copy."""
    layer = make()
    optimizer = AdamW(layer.parameters())
    step(layer, optimizer)
    held, before = layer.weight, layer.weight.detach().clone()
    kept = LastGood()
    kept.remember(layer.parameters(), optimizer)
    step(layer, optimizer)
    assert not torch.equal(layer.weight, before)
    kept.bring_back(layer.parameters(), optimizer)
    assert layer.weight is held
    assert torch.equal(held, before)
    assert held.is_leaf
    assert held.requires_grad
    assert next(iter(optimizer.state.values()))["step"] == 1


def test_the_last_of_several_counts() -> None:
    layer = make()
    optimizer = SGD(layer.parameters(), lr=0.1)
    kept = LastGood()
    kept.remember(layer.parameters(), optimizer)
    step(layer, optimizer)
    kept.remember(layer.parameters(), optimizer)
    second = layer.weight.detach().clone()
    step(layer, optimizer)
    kept.bring_back(layer.parameters(), optimizer)
    assert torch.equal(layer.weight, second)


def test_before_its_first_step_an_optimizer_has_no_state_again() -> None:
    layer = make()
    optimizer = AdamW(layer.parameters())
    kept = LastGood()
    kept.remember(layer.parameters(), optimizer)
    step(layer, optimizer, 2)
    kept.bring_back(layer.parameters(), optimizer)
    assert not optimizer.state


@pytest.mark.parametrize("given", [0, 3])
def test_other_tensors_than_before_are_refused(given: int) -> None:
    layer = make()
    optimizer = SGD(layer.parameters(), lr=0.1)
    kept = LastGood()
    kept.remember(layer.parameters(), optimizer)
    tensors: list[Any] = [layer.weight, layer.bias, layer.bias][:given]
    with pytest.raises(ValueError, match="zip"):
        kept.bring_back(tensors, optimizer)
