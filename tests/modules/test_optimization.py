from typing import Any

import pytest
import torch

from abair_pl.errors import InputError
from abair_pl.modules.optimization import OptimizationConfig, optimizer_and_schedule


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0},
        {"final_learning_rate": -1e-6},
        {"final_learning_rate": 1.0},
        {"warmup_steps": -1},
        {"weight_decay": -0.1},
        {"ema_decay": 1.0},
        {"schedule_steps": 0},
    ],
    ids=str,
)
def test_settings_out_of_bounds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        OptimizationConfig(**change)


def test_frozen_weights_are_left_out_and_only_matrices_decay() -> None:
    layer = torch.nn.Linear(3, 2)
    frozen = torch.nn.Linear(3, 2).requires_grad_(False)
    named = [*layer.named_parameters(), *frozen.named_parameters("frozen")]
    made = optimizer_and_schedule(OptimizationConfig(weight_decay=0.1), named, total_steps=10)
    decayed, others = made["optimizer"].param_groups
    assert [p is layer.weight for p in decayed["params"]] == [True]
    assert [p is layer.bias for p in others["params"]] == [True]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert made["lr_scheduler"]["interval"] == "step"


def rates(config: OptimizationConfig, total_steps: int, steps: int) -> list[float]:
    named = torch.nn.Linear(3, 2).named_parameters()
    schedule = optimizer_and_schedule(config, named, total_steps)["lr_scheduler"]["scheduler"]
    return [schedule.lr_lambdas[0](step) for step in range(steps)]


def test_a_short_run_with_the_schedule_of_a_long_one_is_its_start() -> None:
    short = rates(OptimizationConfig(warmup_steps=3, schedule_steps=100), total_steps=10, steps=10)
    assert short == rates(OptimizationConfig(warmup_steps=3), total_steps=100, steps=10)
    assert short != rates(OptimizationConfig(warmup_steps=3), total_steps=10, steps=10)
