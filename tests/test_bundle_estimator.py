from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from abair_pl.bundle import Bundle, save_adapter
from abair_pl.bundle_estimator import estimator_to_train, stored_estimator
from abair_pl.errors import BundleError
from abair_pl.models.adapters import LoRA


def test_the_stored_one_is_of_the_adapters_that_it_was_trained_on(
    bundle_copy: Path, make_adapter: Callable[..., Any]
) -> None:
    old = Bundle.open(bundle_copy)
    new = save_adapter(bundle_copy, old, "sleet", make_adapter(old, "sleet", LoRA(rank=2)), LoRA(rank=2), {})
    before, after = old.config, new.config
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        stored, started = (make(bundle_copy, after).eval()(image) for make in (stored_estimator, estimator_to_train))
    assert (stored.shape[1], started.shape[1]) == (len(before.adapters) + 1, len(before.adapters) + 2)
    torch.testing.assert_close(started[:, :-1], stored)


def test_there_is_nothing_to_go_on_from_after_phase_two(backbone_path: Path) -> None:
    config = Bundle.open(backbone_path).config
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(estimator_to_train(backbone_path, config).state_dict()["classify.0.weight"])
    assert not torch.equal(made[0], made[1])


def test_damage_is_named(bundle_copy: Path) -> None:
    file = bundle_copy / "estimator.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=str(file)):
        estimator_to_train(bundle_copy, Bundle.open(bundle_copy).config)
