from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from abair_pl.doctor.plan import Plan, read_plan
from abair_pl.errors import InputError


def test_reads_the_configurations_in_order_and_then_the_overrides(pretrain: Path, small: list[str]) -> None:
    ddp = pretrain.parent / "trainer" / "ddp.yaml"
    plan = read_plan([pretrain, ddp], [*small, "trainer.devices=2", "trainer.num_nodes=3", "data.workers=4"])
    assert (plan.accelerator, plan.devices, plan.nodes, plan.ranks, plan.readers) == ("cpu", 2, 3, 6, 4)
    assert (plan.strategy, plan.precision, plan.max_steps) == ("ddpstrategy", "32-true", 20)
    assert plan.model["preset"] == "tiny"
    rolling = plan.callback("RollingCheckpoint")
    assert rolling is not None
    assert rolling["keep"] == 3
    assert plan.callback("EarlyStopping") is None


def test_nothing_is_made_or_written(plan: Plan) -> None:
    assert not list(Path(plan.root).iterdir())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.batch_size", "expected NAME=VALUE"),
        ("--data.batch_size=8", "expected NAME=VALUE"),
        ("data.batchsize=8", "batchsize"),
        ("trainer.devices=some", "trainer.devices is some"),
    ],
)
def test_wrong_overrides_are_refused(pretrain: Path, override: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_plan([pretrain], [override])


def test_a_missing_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml"):
        read_plan([tmp_path / "none.yaml"], [])


def test_a_configuration_that_is_no_phase_is_refused(pretrain: Path) -> None:
    with pytest.raises(InputError):
        read_plan([pretrain.parent / "trainer" / "ddp.yaml"], [])


@pytest.mark.parametrize(("given", "devices"), [("auto", 1), ("-1", 1), ("3", 3), ("[0, 1]", 2), ('"0,1"', 2)])
def test_devices_are_as_lightning_takes_them(pretrain: Path, small: list[str], given: str, devices: int) -> None:
    assert read_plan([pretrain], [*small, f"trainer.devices={given}"]).devices == devices


def test_auto_is_all_gpus_where_there_are_some(
    pretrain: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    plan = read_plan([pretrain], [*small, "trainer.accelerator=auto"])
    assert (plan.accelerator, plan.devices) == ("cuda", 4)


def test_batch_is_split_over_devices(plan: Plan, change: Callable[..., Plan]) -> None:
    split = change(plan, {"data.batch_size": 64, "data.device_batch_size": 4}, devices=2, nodes=2).split()
    assert (split.devices, split.accumulated, split.each) == (4, 4, 4)
