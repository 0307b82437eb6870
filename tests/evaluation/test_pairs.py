from pathlib import Path

import pytest
import torch

from abair_pl.errors import InputError
from abair_pl.evaluation.pairs import Pair, find_pairs


def degraded(clean: Path, spec: str) -> list[Pair]:
    pairs, count = find_pairs(None, None, clean, [spec], draws=1, seed=3)
    made = list(pairs)
    assert len(made) == count
    return made


def test_degradations_side_by_side_are_each_what_they_are_alone(photographs: Path) -> None:
    halves, noisy, dark = (
        degraded(photographs, spec) for spec in ("noise:sigma=25|low_light", "noise:sigma=25", "low_light")
    )
    for both, left, right in zip(halves, noisy, dark, strict=True):
        middle = round(both.clean.shape[2] / 2)
        assert both.name == "noise|low_light"
        assert both.degradation == "noise:sigma=25|low_light"
        assert torch.equal(both.degraded[..., :middle], left.degraded[..., :middle])
        assert torch.equal(both.degraded[..., middle:], right.degraded[..., middle:])
        assert not torch.equal(both.degraded, left.degraded)


def test_an_unknown_one_among_them_is_named(photographs: Path) -> None:
    with pytest.raises(InputError, match="rian"):
        find_pairs(None, None, photographs, ["noise|rian"], draws=1, seed=0)
