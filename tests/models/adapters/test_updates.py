"""The updates of one layer by several adapters as one."""

import pytest
import torch
from torch import Tensor

from abair_pl.errors import BundleError
from abair_pl.models.adapters import ConvUpdate, LowRankUpdate, stack_updates


def update(rank: int, inputs: int = 5, outputs: int = 3, scaling: float = 2.0) -> LowRankUpdate:
    return LowRankUpdate(torch.randn(rank, inputs), torch.randn(outputs, rank), scaling)


def conv_update(rank: int, experts: int, inputs: int = 5, outputs: int = 3) -> ConvUpdate:
    halves = torch.randn(rank, inputs), torch.randn(outputs, rank)
    gate = torch.randn(experts, rank), torch.randn(experts)
    return ConvUpdate(*halves, 1.0, *gate, torch.randn(experts, rank, rank, 3, 3), torch.randn(experts, rank))


def test_stacking_keeps_mixed_ranks_and_skips_absent_adapters() -> None:
    first, last = update(2, scaling=0.5), update(3)
    stack = stack_updates([first, None, last], 5, 3)
    assert stack.owner.tolist() == [0, 0, 2, 2, 2]
    assert stack.experts is None

    def delta(part: LowRankUpdate) -> Tensor:
        return part.scaling * part.up @ part.down

    torch.testing.assert_close(stack.up[:, :2] @ stack.down[:2], delta(first))
    torch.testing.assert_close(stack.up @ stack.down, delta(first) + delta(last))


def test_no_updates_stack_to_nothing() -> None:
    stack = stack_updates([None, None], 5, 3)
    assert stack.down.shape == (0, 5)
    assert stack.up.shape == (3, 0)
    assert stack.experts is None


def test_stacking_refuses_an_update_of_another_size() -> None:
    with pytest.raises(BundleError, match="3 x 4, the backbone's 3 x 5"):
        stack_updates([update(2), update(2, inputs=4)], 5, 3)


def test_experts_of_several_adapters_run_together_as_each_alone() -> None:
    updates = [conv_update(3, experts=4), update(2), None, conv_update(1, experts=2), conv_update(2, experts=4)]
    together = stack_updates(updates, 5, 3)
    u = torch.randn(4, 8, 6, 5) + torch.randn(4, 8, 1, 1)
    assert together.experts is not None
    result = together.experts(u)
    for index, part in enumerate(updates):
        alone = stack_updates([part], 5, 3)
        own = together.owner == index
        expected = u[:, own] if alone.experts is None else alone.experts(u[:, own])
        torch.testing.assert_close(result[:, own], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(result[:, :3], u[:, :3])


def test_stacked_experts_are_frozen_but_carry_gradients() -> None:
    stack, u = stack_updates([conv_update(2, 3)], 5, 3), torch.randn(1, 2, 4, 4, requires_grad=True)
    assert stack.experts is not None
    stack.experts(u).sum().backward()
    assert u.grad is not None
    assert not any(parameter.requires_grad for parameter in stack.experts.parameters())


def test_halves_and_experts_must_fit_each_other() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2, 5\) and \(3, 4\)"):
        LowRankUpdate(torch.zeros(2, 5), torch.zeros(3, 4), 1.0)
    fine = conv_update(2, 3)
    with pytest.raises(ValueError, match="experts of shapes"):
        ConvUpdate(fine.down, fine.up, 1.0, fine.gate_weight, fine.gate_bias, fine.kernels[:2], fine.biases)
