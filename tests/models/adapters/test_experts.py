"""The mixture of experts of Conv-LoRA."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from abair_pl.models.adapters.experts import ConvExperts
from abair_pl.models.whole_image import WholeImage


def random_experts(ranks: list[int], scales: int) -> ConvExperts:
    experts = ConvExperts(ranks, scales).eval()
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.5)
    return experts


def by_hand(experts: ConvExperts, u: Tensor) -> Tensor:
    """What one adapter's mixture gives for ``(1, R, H, W)``, all experts written out."""
    logits = experts.gate_weight[0] @ u[0].mean(dim=(1, 2)) + experts.gate_bias[0]
    picked = int(logits.argmax())
    fine = F.interpolate(u, scale_factor=float(picked + 1), mode="bilinear")
    fine = F.gelu(F.conv2d(fine, experts.kernels[picked], experts.biases[picked], padding=1))
    return logits.softmax(dim=0)[picked] * F.interpolate(fine, u.shape[2:], mode="bilinear")


@pytest.mark.parametrize("picked", range(4))
def test_the_picked_expert_answers_for_the_image(picked: int) -> None:
    experts, u = random_experts([3], 4), torch.randn(1, 3, 6, 5)
    with torch.no_grad():
        experts.gate_bias[0, picked] += 10.0
        torch.testing.assert_close(experts(u), by_hand(experts, u), atol=1e-5, rtol=1e-5)


def test_images_of_a_batch_are_answered_by_their_own_experts() -> None:
    experts, u = random_experts([3], 4), torch.randn(16, 3, 5, 5) + torch.randn(16, 3, 1, 1)
    with torch.no_grad():
        assert len(set(experts._gates(u)[:, 0].argmax(dim=1).tolist())) > 1, "more than one expert should be picked"
        expected = torch.cat([by_hand(experts, image[None]) for image in u])
        torch.testing.assert_close(experts(u), expected, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_gate_and_all_experts_even_those_nobody_picked() -> None:
    experts = random_experts([3], 4)
    experts(torch.randn(1, 3, 6, 5)).sum().backward()
    assert experts.gate_weight.grad is not None
    assert experts.gate_weight.grad.any()
    assert all(parameter.grad is not None for parameter in experts.parameters())


def test_training_tries_experts_that_would_not_be_picked_and_frozen_ones_do_not() -> None:
    experts, u = random_experts([2], 3).train(), torch.randn(1, 2, 4, 4).expand(64, -1, -1, -1)
    with torch.no_grad():
        experts.gate_weight.zero_()
        experts.gate_bias.zero_()
        assert len(set(experts._gates(u)[:, 0].argmax(dim=1).tolist())) == 3
        experts.requires_grad_(False)
        assert set(experts._gates(u)[:, 0].argmax(dim=1).tolist()) == {0}


def test_parts_of_an_image_share_what_its_gate_sees() -> None:
    experts, u = random_experts([3], 4), torch.randn(2, 3, 8, 8) + torch.tensor([3.0, -3.0])[:, None, None, None]
    experts.whole = WholeImage()
    with torch.no_grad():
        experts.whole.look_at(torch.zeros(2, 4), torch.ones(2, 1, 8, 8))
        experts(u)
        experts.whole.end_round(last=True)
        gates = experts._gates(u[:1])
        experts.whole = None
        alone = experts._gates(u.mean(dim=0, keepdim=True))
    torch.testing.assert_close(gates, alone)


@torch.no_grad()
@pytest.mark.parametrize("index", range(1, 8))
def test_experts_enlarge_by_a_factor_to_the_last_bit(index: int) -> None:
    experts, u = random_experts([3], 8), torch.randn(1, 3, 6, 5)
    fine = F.interpolate(u, scale_factor=index + 1.0, mode="bilinear")
    fine = F.gelu(F.conv2d(fine, experts.kernels[index], experts.biases[index], padding=1))
    assert torch.equal(experts._expert(u, index), F.interpolate(fine, (6, 5), mode="bilinear"))


@torch.no_grad()
def test_all_experts_on_all_images_give_the_same() -> None:
    experts, u = random_experts([3, 2], 4), torch.randn(16, 5, 5, 6) + torch.randn(16, 5, 1, 1)
    expected = experts(u)
    experts.dense = True
    torch.testing.assert_close(experts(u), expected, atol=1e-6, rtol=1e-5)
    assert expected.any()
