import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.models.calibration import Calibration, energy_score, fit_calibration, fit_temperature


def drawn(temperature: float, count: int = 40_000) -> tuple[Tensor, Tensor]:
    """Logits, and labels drawn from their probabilities at a temperature."""
    logits = torch.randn(count, 6, dtype=torch.float64) * 4.0
    return logits, (logits / temperature).softmax(dim=1).multinomial(1)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_is_likelier() -> None:
    logits, labels = drawn(1.7, 500)
    best = fit_temperature(logits, labels)
    least = F.cross_entropy(logits / best, labels)
    for other in (0.99, 1.01):
        assert F.cross_entropy(logits / (best * other), labels) > least


@pytest.mark.parametrize(("sign", "bound"), [(1.0, 0.05), (-1.0, 20.0)])
def test_the_temperature_is_bounded(sign: float, bound: float) -> None:
    labels = torch.arange(6).repeat(4)
    logits = sign * F.one_hot(labels, 6).double()
    assert fit_temperature(logits, labels) == pytest.approx(bound)


def test_probabilities_are_the_softmax_at_the_temperature() -> None:
    logits = torch.randn(5, 6, dtype=torch.bfloat16)
    found = Calibration(temperature=2.0).probabilities(logits)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (logits.float() / 2.0).softmax(dim=1))


def test_energy_is_the_formula_of_the_paper() -> None:
    """Equation 3 of Liu et al. with the sign of their score; no overflow at large logits."""
    logits = [2.0, -1.0, 0.5]
    expected = 1.5 * math.log(sum(math.exp(value / 1.5) for value in logits))
    assert energy_score(torch.tensor([logits]), 1.5).item() == pytest.approx(expected)
    assert energy_score(torch.tensor([[3000.0, 0.0]]), 1.0).item() == pytest.approx(3000.0)


def test_one_image_in_a_hundred_of_the_validation_is_unknown() -> None:
    logits, labels = drawn(1.0, 1000)
    calibration = fit_calibration(logits.float(), labels)
    assert calibration.unknown(logits.float()).sum() == 10
    assert not calibration.unknown(logits.float() + 20.0).any()
    assert calibration.unknown(logits.float() - 20.0).all()


def test_what_was_not_fitted_changes_nothing() -> None:
    logits = torch.randn(4, 6)
    torch.testing.assert_close(Calibration().probabilities(logits), logits.softmax(dim=1))
    assert Calibration().unknown(logits - 1e6).tolist() == [False] * 4


def test_logits_that_are_not_finite_are_left_out() -> None:
    logits, labels = drawn(1.7, 500)
    broken = logits.clone()
    broken[::5, 2] = torch.nan
    broken[1::5, 0] = torch.inf
    kept = torch.arange(500) % 5 > 1
    assert fit_calibration(broken, labels) == fit_calibration(logits[kept], labels[kept])
    assert fit_calibration(logits * torch.nan, labels) == fit_calibration(logits[:0], labels[:0]) == Calibration()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match=r"the temperature is .*; expected a positive number"):
        Calibration(temperature)


def test_an_impossible_threshold_is_refused() -> None:
    with pytest.raises(InputError, match="the threshold is nan; expected a finite number or null"):
        Calibration(threshold=math.nan)


@pytest.mark.parametrize("sharpness", [0.0, 0.99, -1.0, math.nan, math.inf])
def test_an_impossible_sharpness_is_refused(sharpness: float) -> None:
    with pytest.raises(InputError, match=r"the sharpness is .*; expected 1, as in the paper, or more"):
        Calibration(sharpness=sharpness)


def test_sharpened_probabilities_keep_their_order_and_what_is_equal() -> None:
    probabilities = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])
    sharpened = Calibration(sharpness=2.0).sharpened(probabilities)
    torch.testing.assert_close(sharpened, torch.tensor([[1 / 46, 36 / 46, 9 / 46], [0.5, 0.0, 0.5]]))
    torch.testing.assert_close(Calibration().sharpened(probabilities), probabilities)


def test_a_large_sharpness_is_the_choice_of_the_likeliest_and_no_division_by_nothing() -> None:
    sharp = Calibration(sharpness=1e4)
    torch.testing.assert_close(sharp.sharpened(torch.full((1, 9), 1 / 9)), torch.full((1, 9), 1 / 9))
    torch.testing.assert_close(sharp.sharpened(torch.tensor([[0.2, 0.5, 0.3]])), torch.tensor([[0.0, 1.0, 0.0]]))


def test_a_fit_keeps_what_is_chosen() -> None:
    logits, labels = torch.randn(9, 3), torch.arange(9) % 3
    chosen = Calibration(sharpness=2.0, bias=(0.5, 0.0, 0.0))
    fitted = fit_calibration(logits, labels, replace(chosen, temperature=7.0, threshold=1.0))
    assert replace(fitted, temperature=1.0, threshold=None) == chosen
    plain = fit_calibration(logits, labels)
    assert (fitted.temperature, fitted.threshold) == (plain.temperature, plain.threshold)
    assert torch.equal(fitted.unknown(logits), plain.unknown(logits))
    assert fit_calibration(logits[:0], labels[:0], replace(fitted, temperature=7.0)) == chosen


def test_a_bias_moves_a_class_by_as_much_whatever_the_temperature() -> None:
    logits = torch.tensor([[1.0, 1.4, 0.0], [1.0, 1.6, 0.0]])
    for temperature in (0.5, 1.0, 3.0):
        found = Calibration(temperature, bias=(0.5, 0.0, 0.0)).probabilities(logits)
        torch.testing.assert_close(found, ((logits + torch.tensor([0.5, 0.0, 0.0])) / temperature).softmax(dim=1))
        assert found.argmax(dim=1).tolist() == [0, 1]
        assert Calibration(temperature).probabilities(logits).argmax(dim=1).tolist() == [1, 1]


@pytest.mark.parametrize("bias", [math.nan, math.inf, 1e39, -101.0])
def test_an_impossible_bias_is_refused(bias: float) -> None:
    with pytest.raises(
        InputError, match=r"the bias is \[0.0, .*\]; expected numbers from -100 to 100, or none as in the paper"
    ):
        Calibration(bias=(0.0, bias))


@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_what_is_called_clean_gets_no_adapter(sharpness: float) -> None:
    probabilities = torch.tensor([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]])
    calibration = Calibration(sharpness=sharpness)
    weights = calibration.weights(probabilities, "soft")
    assert weights[0].tolist() == [0.0, 0.0]
    torch.testing.assert_close(weights[1], calibration.sharpened(probabilities)[1, 1:])
    assert calibration.weights(probabilities, "one_hot").tolist() == [[0.0, 0.0], [1.0, 0.0]]
