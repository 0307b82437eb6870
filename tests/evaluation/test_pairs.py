from pathlib import Path

import pytest
import torch

from abair_pl.errors import InputError
from abair_pl.evaluation.pairs import PairSource, find_pairs


def degraded(clean: Path, spec: str) -> list[PairSource]:
    return find_pairs(None, None, clean, [spec], draws=1, seed=3)


def test_degradations_side_by_side_are_each_what_they_are_alone(photographs: Path) -> None:
    halves, noisy, dark = (
        degraded(photographs, spec) for spec in ("noise:sigma=25|low_light", "noise:sigma=25", "low_light")
    )
    for sources in zip(halves, noisy, dark, strict=True):
        assert sources[0].name == "noise|low_light"
        assert sources[0].degradation == "noise:sigma=25|low_light"
        both, left, right = (source.load() for source in sources)
        middle = round(both.clean.shape[2] / 2)
        assert torch.equal(both.degraded[..., :middle], left.degraded[..., :middle])
        assert torch.equal(both.degraded[..., middle:], right.degraded[..., middle:])
        assert not torch.equal(both.degraded, left.degraded)


def test_an_unknown_one_among_them_is_named(photographs: Path) -> None:
    with pytest.raises(InputError, match="rian"):
        find_pairs(None, None, photographs, ["noise|rian"], draws=1, seed=0)
