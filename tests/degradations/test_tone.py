import pytest
import torch

from abair_pl.degradations.tone import GAMMA, to_display, to_linear


def test_linear_light_is_the_power_of_its_gamma() -> None:
    display = torch.linspace(0.0, 1.0, 1001, dtype=torch.float64)
    assert torch.allclose(to_linear(display), display**GAMMA, atol=1e-12)


def test_it_stands_for_the_srgb_curve() -> None:
    display = torch.linspace(0.0, 1.0, 256, dtype=torch.float64)
    srgb = torch.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
    assert float((to_linear(display) - srgb).abs().max()) < 0.01


def test_there_and_back_gives_the_same_values_and_changes_no_argument() -> None:
    display = torch.linspace(0.0, 1.0, 1001)
    kept = display.clone()
    assert torch.allclose(to_display(to_linear(display)), display, atol=1e-6)
    assert torch.equal(display, kept)


@pytest.mark.parametrize("gamma", [0.8, 1.0, 1.3])
def test_an_extra_gamma_is_a_power_of_the_display_value(gamma: float) -> None:
    display = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    assert torch.allclose(to_display(to_linear(display), gamma), display**gamma, atol=1e-12)
    assert torch.allclose(to_display(to_linear(display), torch.full((101,), gamma).double()), display**gamma, atol=1e-6)
