import pytest
import torch

from abair_pl.result import Result


@pytest.mark.parametrize(
    ("rain", "unknown", "guess"), [(0.5, True, True), (0.5, False, False), (0.0, True, False), (0.0, False, False)]
)
def test_weights_are_a_guess_where_something_unknown_is_restored(rain: float, unknown: bool, guess: bool) -> None:
    assert Result(torch.zeros(3, 4, 5), {"rain": rain, "haze": 0.0}, None, unknown).is_guess == guess
