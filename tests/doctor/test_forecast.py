from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from abair_pl.doctor import forecast as forecast_module
from abair_pl.doctor.dry_run import Measures
from abair_pl.doctor.forecast import check_measures, forecast
from abair_pl.doctor.page import Line
from abair_pl.doctor.plan import Plan

GIB = 2**30
TAKEN = Measures(
    steps=2,
    step_seconds=0.5,
    step_images=4.0,
    shares={"data": 0.1, "synthesis": 0.2, "forward_backward": 0.6, "optimizer": 0.05, "other": 0.05},
    validation_start_seconds=1.0,
    validation_batch_seconds=0.25,
    validation_samples=10,
    validation_batch_size=2,
    checkpoint_bytes=100,
    parameters=10,
    trained_parameters=5,
    peak_bytes=GIB,
    worker_bytes=GIB // 2,
    gpu_bytes=None,
    gpu_reserved_bytes=None,
    gpu_total_bytes=None,
)


@pytest.fixture
def long(plan: Plan, change: Callable[..., Plan]) -> Plan:
    """A run of 1000 steps with a validation every 100, without any before."""
    settings = {"max_steps": 1000, "val_check_interval": 100, "num_sanity_val_steps": 0}
    return change(plan, {f"trainer.{name}": value for name, value in settings.items()})


def line(name: str, plan: Plan, measures: Measures = TAKEN) -> Line:
    (found,) = [each for each in check_measures(plan, measures).lines if each.name == name]
    return found


def test_steps_and_validations_add_up(long: Plan) -> None:
    found = forecast(long, TAKEN)
    assert (found.steps, found.validations) == (1000, 10)
    assert found.validation_seconds == 1.0 + 5 * 0.25
    assert found.seconds == 1000 * 0.5 + 10 * found.validation_seconds
    assert found.images_per_second == 8.0
    assert line("whole run", long).text == "1,000 steps, 8 min 42 s, with 10 validations of 2 s; checkpoints left out"


@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        ({"data.workers": 3}, 6),  # of four photographs each, in two batches
        ({"trainer.limit_val_batches": 3}, 3),
        ({"trainer.limit_val_batches": 0.5}, 2),
    ],
)
def test_batches_of_a_validation(
    settings: dict[str, Any], batches: int, long: Plan, change: Callable[..., Plan]
) -> None:
    assert forecast(change(long, settings), TAKEN).validation_seconds == 1.0 + batches * 0.25


def test_devices_share_the_work(long: Plan, change: Callable[..., Plan]) -> None:
    found = forecast(change(long, devices=2, nodes=2), TAKEN)
    assert found.images_per_second == 32.0
    assert found.validation_seconds == 1.0 + 2 * 0.25  # three photographs on each device
    assert found.node_bytes == 2 * (GIB + GIB // 2), "of one node"


def test_interval_counts_steps_unless_the_trainer_counts_epochs(long: Plan, change: Callable[..., Plan]) -> None:
    twice = {"data.batch_size": 4, "data.device_batch_size": 2}
    assert forecast(change(long, twice), TAKEN).validations == 10
    assert forecast(change(long, {**twice, "trainer.check_val_every_n_epoch": 1}), TAKEN).validations == 20


@pytest.mark.parametrize("settings", [{"trainer.val_check_interval": 2000}, {"trainer.limit_val_batches": 0}])
def test_a_run_without_validation_is_a_warning(
    settings: dict[str, Any], long: Plan, change: Callable[..., Plan]
) -> None:
    assert line("whole run", long).mark == "ok"
    assert line("whole run", change(long, settings)).mark == "warning"


def test_sanity_check_is_counted(long: Plan, change: Callable[..., Plan]) -> None:
    without = forecast(long, TAKEN).seconds
    for sanity, batches in ((None, 2), (1, 1), (-1, 5), (9, 5)):
        found = forecast(change(long, {"trainer.num_sanity_val_steps": sanity}), TAKEN).seconds
        assert found == without + batches * 0.25


def test_waiting_for_data_is_a_warning(long: Plan) -> None:
    assert line("time", long).mark == "ok"
    starved = replace(TAKEN, shares={**TAKEN.shares, "data": 0.4, "forward_backward": 0.3})
    assert line("time", long, starved).mark == "warning"


@pytest.mark.parametrize(("here", "mark"), [(1.4, "problem"), (1.6, "warning"), (4.0, "ok")])
def test_memory(here: float, mark: str, long: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_module, "memory_bytes", lambda: int(here * GIB))
    assert line("memory", long).mark == mark


@pytest.mark.parametrize(("reserved", "mark"), [(8, "ok"), (9.5, "warning")])
def test_memory_of_a_gpu(reserved: float, mark: str, long: Plan) -> None:
    gpu = replace(TAKEN, gpu_bytes=7 * GIB, gpu_reserved_bytes=int(reserved * GIB), gpu_total_bytes=10 * GIB)
    found = line("GPU memory", long, gpu)
    assert (found.mark, found.text) == (mark, f"7.00 GiB of tensors, {reserved:.2f} of 10.0 GiB taken")


def test_facts_are_measures_and_forecast(long: Plan) -> None:
    facts = check_measures(long, TAKEN).facts
    assert facts["dry_run"]["step_seconds"] == 0.5
    assert facts["forecast"]["seconds"] == forecast(long, TAKEN).seconds
