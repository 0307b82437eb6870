import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from abair_pl.doctor import machine
from abair_pl.doctor.machine import check_machine, memory_bytes
from abair_pl.doctor.page import Line
from abair_pl.doctor.plan import Plan

AMPERE = {"name": "Ampere", "memory_gib": 40.0, "bf16": True, "fp16": True}
VOLTA = {"name": "Volta", "memory_gib": 16.0, "bf16": False, "fp16": True}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the machine have these GPUs."""

    def install(*found: dict[str, Any]) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
        monkeypatch.setattr(machine, "_gpu", lambda index: found[index])
        monkeypatch.setattr(machine, "_backends", lambda: {"nccl": lambda: True, "gloo": lambda: True})

    return install


def line(name: str, plan: Plan | None) -> Line:
    (found,) = [each for each in check_machine(plan).lines if each.name == name]
    return found


def test_facts_are_those_of_this_process() -> None:
    facts = check_machine().facts
    assert facts["cpu_cores"] == os.cpu_count()
    assert facts["cpu_cores_usable"] == len(os.sched_getaffinity(0))
    assert 0 < facts["memory_gib"] * 2**30 <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") + 2**27
    assert facts["backends"]["gloo"] == torch.distributed.is_gloo_available()
    assert len(facts["gpus"]) == torch.cuda.device_count()


def test_cores_that_are_taken_away_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert check_machine().facts["cpu_cores_usable"] == 1


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder for control groups, of which this process is in none yet, in no job."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("membership", "root", "name", "unlimited"),
    [
        ("0::/job/step", ".", "memory.max", "max"),
        ("5:cpu,memory:/job/step\n0::/", "memory", "memory.limit_in_bytes", "9223372036854771712"),
    ],
)
def test_memory_is_that_of_the_control_group_if_it_is_less(
    membership: str, root: str, name: str, unlimited: str, groups: Path
) -> None:
    whole = memory_bytes()
    (groups / "membership").write_text(f"3:cpuset:/other\n{membership}\n")
    step = groups / root / "job" / "step"
    step.mkdir(parents=True)
    (step / name).write_text(f"{unlimited}\n")
    assert memory_bytes() == whole
    (step.parent / name).write_text("1073741824\n")
    assert memory_bytes() == 2**30


@pytest.mark.usefixtures("groups")
def test_memory_is_that_of_the_job_if_it_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory_bytes()
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1024")
    assert memory_bytes() == 2**30
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")
    assert memory_bytes() == whole


def test_gpus_are_told_with_memory_and_precisions(gpus: Callable[..., None]) -> None:
    gpus(AMPERE, VOLTA)
    section = check_machine()
    assert line("GPU 1", None).text == "Volta, 16.0 GiB, bf16 no, fp16 yes"
    assert section.facts["gpus"] == ["Ampere", "Volta"]
    assert section.facts["bf16_on_gpu"] is False


def test_devices_that_are_not_there_are_a_problem(
    plan: Plan, change: Callable[..., Plan], gpus: Callable[..., None]
) -> None:
    gpus(AMPERE)
    assert line("devices", change(plan, accelerator="cuda", devices=1)).mark == "ok"
    missing = line("devices", change(plan, accelerator="cuda", devices=2))
    assert (missing.mark, missing.text[-18:]) == ("problem", "this machine has 1")


@pytest.mark.parametrize(
    ("gpu", "precision", "mark"),
    [
        (AMPERE, "bf16-mixed", "ok"),
        (VOLTA, "bf16-mixed", "problem"),
        (VOLTA, "16-mixed", "ok"),
        (VOLTA, "32-true", "ok"),
    ],
)
def test_precision_of_a_gpu(
    gpu: dict[str, Any], precision: str, mark: str, plan: Plan, change: Callable[..., Plan], gpus: Callable[..., None]
) -> None:
    gpus(gpu)
    changed = change(plan, {"trainer.precision": precision}, accelerator="cuda", devices=1)
    assert line("precision", changed).mark == mark


@pytest.mark.parametrize(
    ("precision", "in_hardware", "mark", "text"),
    [
        ("32-true", False, "ok", "32-true"),
        ("bf16-mixed", True, "ok", "bf16-mixed"),
        ("bf16-mixed", False, "ok", "32-true instead of bf16-mixed, for which this CPU has no instructions"),
        ("16-mixed", False, "problem", "trainer.precision is 16-mixed, which CPUs do not train in"),
    ],
)
def test_precision_of_a_cpu(
    precision: str,
    in_hardware: bool,
    mark: str,
    text: str,
    plan: Plan,
    change: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "has_bf16", lambda: in_hardware)
    found = line("precision", change(plan, {"trainer.precision": precision}))
    assert (found.mark, found.text) == (mark, text)


def test_ranks_without_a_backend_are_a_problem(
    plan: Plan, change: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_backends", lambda: {"nccl": lambda: False, "gloo": lambda: False})
    assert line("connection", change(plan, devices=2)).mark == "problem"
    assert not [each for each in check_machine(plan).lines if each.name == "connection"], "one rank needs none"


def test_more_processes_than_cores_are_a_warning(plan: Plan, change: Callable[..., Plan]) -> None:
    busy = change(plan, {"data.workers": len(os.sched_getaffinity(0))})
    assert line("processes", busy).mark == "warning"
