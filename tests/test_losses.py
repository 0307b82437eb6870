import math

import pytest
import torch
from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.losses import BalancedRestorationLoss, RestorationLoss, segmentation_loss


def pair(errors: list[float], labels: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A row of pixels that are wrong by so much, with their labels."""
    clean = torch.full((1, 3, 1, len(errors)), 0.5)
    return clean + torch.tensor(errors), clean, torch.tensor(labels).view(1, 1, -1)


def test_balanced_loss_by_hand() -> None:
    """Means 0.3 and 0.1 give factors 10/3 and 10; clean, with 1/0.02 = 50, is bounded by half their mean, 10/3."""
    loss = BalancedRestorationLoss(labels=3)
    value = loss(*pair([0.2, 0.4, -0.1, 0.02], [1, 1, 2, 0]))
    torch.testing.assert_close(loss.running_error, torch.tensor([0.02, 0.3, 0.1]))
    expected = (2 * 0.3 * 10 / 3 + 0.1 * 10 + 0.02 * 10 / 3) / 4
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_second_step_moves_the_running_means_of_labels_that_are_present() -> None:
    loss = BalancedRestorationLoss(labels=3, momentum=0.9)
    loss(*pair([0.2, 0.4], [1, 2]))
    value = loss(*pair([0.6, 0.6], [1, 1]))
    torch.testing.assert_close(loss.running_error, torch.tensor([0.0, 0.9 * 0.2 + 0.1 * 0.6, 0.4]))
    assert value.item() == pytest.approx(0.6 / 0.24, rel=1e-5)


def test_a_step_that_explodes_does_not_silence_its_degradation() -> None:
    loss = BalancedRestorationLoss(labels=2)
    loss(*pair([0.1], [1]))
    exploded = loss(*pair([1000.0], [1]))
    torch.testing.assert_close(loss.running_error[1], torch.tensor(0.98 * 0.1 + 0.02 * 10.0))
    assert exploded.item() == pytest.approx(1000.0 / 0.298, rel=1e-5), "its own loss is what the guard looks at"


@pytest.mark.parametrize(("kind", "least"), [("l1", 0.01), ("l2", 0.05**2)])
def test_the_least_that_bounds_an_error_is_the_floor(kind: RestorationLoss, least: float) -> None:
    loss = BalancedRestorationLoss(labels=2, kind=kind)
    loss(*pair([1e-6], [1]))
    before = loss.running_error[1].item()
    loss(*pair([1000.0], [1]))
    torch.testing.assert_close(loss.running_error[1], torch.tensor(0.98 * before + 0.02 * 100 * least))


def test_an_error_that_was_next_to_nothing_may_grow() -> None:
    """As that of clean pixels does, where a network starts as the identity: what counts is the floor."""
    loss = BalancedRestorationLoss(labels=2)
    loss(*pair([1e-6], [0]))
    loss(*pair([0.05], [0]))
    torch.testing.assert_close(loss.running_error[0], torch.tensor(0.98 * 1e-6 + 0.02 * 0.05))


def test_degradations_of_unlike_errors_pull_alike() -> None:
    restored, clean, labels = pair([0.5, 0.5, 0.02, 0.02], [1, 1, 2, 2])
    restored.requires_grad_()
    BalancedRestorationLoss(labels=3)(restored, clean, labels).backward()
    assert restored.grad is not None
    pull = (restored.grad * (restored - clean).detach()).sum(dim=(0, 1, 2))
    assert pull[:2].sum().item() == pytest.approx(pull[2:].sum().item(), rel=1e-4)


@pytest.mark.parametrize("clean_error", [1e-4, 1e-2, 0.1, 0.5])
def test_clean_factor_is_at_most_half_the_mean_of_the_others(clean_error: float) -> None:
    restored, clean, labels = pair([clean_error, 0.2, 0.1], [0, 1, 2])
    restored.requires_grad_()
    BalancedRestorationLoss(labels=3)(restored, clean, labels).backward()
    assert restored.grad is not None
    pulls = restored.grad.sum(dim=(0, 1, 2))
    assert pulls[0] <= 0.5 * pulls[1:].mean() * (1 + 1e-5)


def test_a_batch_without_degraded_pixels_is_not_bounded() -> None:
    assert BalancedRestorationLoss(labels=3)(*pair([0.1, 0.3], [0, 0])).item() == pytest.approx(1.0)


def test_worse_restoration_costs_more() -> None:
    loss = BalancedRestorationLoss(labels=2)
    loss(*pair([0.1], [1]))
    saved = loss.state_dict()
    values = []
    for error in (0.0, 0.05, 0.1, 0.4):
        loss.load_state_dict(saved)
        values.append(loss(*pair([error], [1])).item())
    assert values == sorted(set(values))
    assert values[0] == 0.0


@pytest.mark.parametrize(("kind", "expected"), [("l1", 0.3), ("charbonnier", math.sqrt(0.3**2 + 1e-6)), ("l2", 0.09)])
def test_kinds_of_error(kind: RestorationLoss, expected: float) -> None:
    loss = BalancedRestorationLoss(2, kind)
    loss(*pair([0.3], [1]))
    assert loss.running_error[1].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("kind", "floor"), [("l1", 0.01), ("l2", 0.05**2)])
def test_what_is_nearly_clean_pulls_less(kind: RestorationLoss, floor: float) -> None:
    loss = BalancedRestorationLoss(2, kind)
    for error in (0.3, 0.1):
        loss.running_error.zero_()
        assert loss(*pair([error], [1])).item() == pytest.approx(1.0), "above the floor, all pull alike"
    loss.running_error.zero_()
    value = loss(*pair([0.002], [1])).item()
    assert value == pytest.approx((0.002 if kind == "l1" else 0.002**2) / floor, rel=1e-3)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_the_floor_falls_while_training_goes_on(kind: RestorationLoss) -> None:
    loss = BalancedRestorationLoss(2, kind, floors=(0.08, 0.005))
    power = 2 if kind == "l2" else 1
    for progress, floor in ((0.0, 0.08), (0.5, 0.02), (1.0, 0.005)):
        loss.running_error.zero_()
        value = loss(*pair([0.004], [1]), progress).item()
        assert value == pytest.approx((0.004 / floor) ** power, rel=1e-3)


@pytest.mark.parametrize("floors", [(0.0, 0.1), (0.1, -0.1), (2.0, 0.1), (math.nan, 0.1)])
def test_floors_that_are_no_errors_are_refused(floors: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"expected two errors in \(0, 1\]"):
        BalancedRestorationLoss(2, floors=floors)


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown restoration loss 'l3'; expected one of: l1, charbonnier, l2"):
        BalancedRestorationLoss(2, "l3")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_first_step_that_is_not_finite_is_forgotten(wrong: float) -> None:
    loss = BalancedRestorationLoss(labels=2)
    loss(*pair([wrong], [1]))
    assert loss(*pair([0.2], [1])).item() == pytest.approx(1.0)


def test_a_step_that_is_not_finite_does_not_spoil_the_next() -> None:
    loss = BalancedRestorationLoss(labels=3)
    loss(*pair([0.2, 0.2], [1, 2]))
    for wrong in (math.nan, math.inf):
        assert not loss(*pair([wrong, 0.2], [1, 2])).isfinite()
        assert loss.running_error[1].item() == pytest.approx(0.2)
        loss(*pair([0.2, 0.2], [1, 2]))
        assert loss(*pair([0.2, 0.2], [1, 2])).item() == pytest.approx(1.0, rel=0.1)


def test_low_precision_input_is_measured_in_float32() -> None:
    restored, clean, labels = pair([0.25], [1])
    assert BalancedRestorationLoss(2)(restored.bfloat16(), clean, labels).dtype == torch.float32


@pytest.mark.parametrize("error", [0.0, 1e-6, 100.0])
@pytest.mark.parametrize("kind", ["l1", "charbonnier", "l2"])
def test_restoration_gradients_are_finite(kind: RestorationLoss, error: float) -> None:
    restored, clean, labels = pair([error, error], [0, 1])
    restored.requires_grad_()
    BalancedRestorationLoss(2, kind)(restored, clean, labels).backward()
    assert restored.grad is not None
    assert restored.grad.isfinite().all()


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(4, (2, 8, 8))


def one_hot(labels: Tensor, classes: int = 4) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()


def test_perfect_segmentation_costs_nothing(labels: Tensor) -> None:
    assert segmentation_loss(one_hot(labels) * 50.0, labels).item() == pytest.approx(0.0, abs=1e-5)


def test_segmentation_loss_falls_towards_the_truth(labels: Tensor) -> None:
    values = [segmentation_loss(one_hot(labels) * scale, labels).item() for scale in (-4.0, 0.0, 1.0, 2.0, 4.0, 8.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 1.0


def test_segmentation_loss_by_hand() -> None:
    """Two pixels of labels 0 and 1, probabilities 0.8/0.2 and 0.5/0.5."""
    logits = torch.tensor([[0.8, 0.5], [0.2, 0.5]]).log().view(1, 2, 1, 2)
    entropy = -(math.log(0.8) + math.log(0.5)) / 2
    dice = 1 - ((2 * 0.8 + 1) / (1.3 + 1 + 1) + (2 * 0.5 + 1) / (0.7 + 1 + 1)) / 2
    value = segmentation_loss(logits, torch.tensor([[[0, 1]]]))
    assert value.item() == pytest.approx(entropy + dice, rel=1e-5)


def test_labels_that_do_not_occur_leave_the_dice_alone(labels: Tensor) -> None:
    logits = torch.randn(2, 4, 8, 8)
    absent = torch.full((2, 2, 8, 8), -1e4)
    wider = torch.cat((logits, absent), dim=1)
    torch.testing.assert_close(segmentation_loss(wider, labels), segmentation_loss(logits, labels))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_segmentation_gradients_are_finite(labels: Tensor, scale: float) -> None:
    logits = (torch.randn(2, 4, 8, 8) * scale).requires_grad_()
    segmentation_loss(logits, labels).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
