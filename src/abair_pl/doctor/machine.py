"""Cores, memory, GPUs, precisions and the means to connect processes; and whether a run gets those it asks for."""

import os
import platform
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from abair_pl.doctor.page import Line, Section, counted
from abair_pl.doctor.plan import Plan
from abair_pl.processor import has_bf16, usable_cores

GIB = 2**30
_SLURM_MB = 2**20
_BF16_CAPABILITY = (8, 0)
_FP16_CAPABILITY = (5, 3)
_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def check_machine(plan: Plan | None = None, elsewhere: bool = False) -> Section:
    """Look at the machine, and whether it has what a run asks for.

    Args:
        plan: The run, if there is one.
        elsewhere: It is for the machines of a job that is not sent yet, so that this one's devices do not matter.
    """
    gpus = [_gpu(index) for index in range(torch.cuda.device_count())]
    cores, usable = os.cpu_count() or 1, usable_cores()
    memory = memory_bytes()
    in_hardware = has_bf16()
    backends = {name: available() for name, available in _backends().items()}
    connected = ", ".join(name for name, there in backends.items() if there) or "none"
    lines = [
        Line("CPU cores", f"{usable} of {cores} may be used"),
        Line("memory", f"{memory / GIB:.1f} GiB"),
        *(Line(f"GPU {index}", _described(gpu)) for index, gpu in enumerate(gpus)),
        *([] if gpus else [Line("GPU", "none")]),
        Line("bf16 on the CPU", "in hardware" if in_hardware else "no instructions found, emulated"),
        Line("backends", connected),
    ]
    if plan is not None and elsewhere:
        lines.append(Line("devices", "those of the job, not of this machine"))
    elif plan is not None:
        lines += [_device_line(plan, gpus), _precision_line(plan, gpus, in_hardware), *_process_lines(plan, backends)]
    facts: dict[str, Any] = {
        "cpu_cores": cores,
        "cpu_cores_usable": usable,
        "memory_gib": round(memory / GIB, 1),
        "gpus": [gpu["name"] for gpu in gpus],
        "gpu_details": gpus,
        "bf16_on_gpu": bool(gpus) and all(gpu["bf16"] for gpu in gpus),
        "bf16_on_cpu": in_hardware,
        "backends": backends,
    }
    return Section("Machine", lines, facts)


def memory_bytes() -> int:
    """Main memory that this process may use: the least of the machine's, its control group's, and its SLURM job's."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    texts = [file.read_text().strip() for file in _limit_files() if file.is_file()]
    limits += [int(text) for text in texts if text.isdigit()]
    asked = os.environ.get("SLURM_MEM_PER_NODE", "")
    if asked.isdigit() and int(asked) > 0:  # 0 asks for all of a node
        limits.append(int(asked) * _SLURM_MB)
    return min(limits)


def _limit_files() -> list[Path]:
    """Where the limits of the control groups of this process and of those above may be, in versions 1 and 2."""
    try:
        entries = [line.split(":", 2) for line in _MEMBERSHIP.read_text().splitlines()]
    except OSError:
        return []
    files = []
    for number, controllers, path in entries:
        if number == "0":
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = root / path.lstrip("/")
        files += [folder / name for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return files


def _gpu(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    capability = (properties.major, properties.minor)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / GIB, 1),
        "bf16": capability >= _BF16_CAPABILITY,
        "fp16": capability >= _FP16_CAPABILITY,
    }


def _described(gpu: dict[str, Any]) -> str:
    precisions = [f"{name} {'yes' if gpu[name] else 'no'}" for name in ("bf16", "fp16")]
    return f"{gpu['name']}, {gpu['memory_gib']} GiB, {', '.join(precisions)}"


def _backends() -> dict[str, Any]:
    if not distributed.is_available():
        return {}
    return {"nccl": distributed.is_nccl_available, "gloo": distributed.is_gloo_available}


def _device_line(plan: Plan, gpus: list[dict[str, Any]]) -> Line:
    asked = f"{plan.devices} x {plan.accelerator} on {'one node' if plan.nodes == 1 else f'each of {plan.nodes} nodes'}"
    if plan.accelerator == "cuda" and len(gpus) < plan.devices:
        text = f"the configuration asks for {asked}; this machine has {len(gpus)}"
        return Line("devices", text, "problem", "set trainer.devices and trainer.accelerator to what there is")
    if plan.accelerator == "mps" and not torch.backends.mps.is_available():
        text = f"the configuration asks for mps; this machine ({platform.machine()}) has none"
        return Line("devices", text, "problem", "set trainer.accelerator to cpu")
    if plan.accelerator == "cpu" and plan.devices > usable_cores():
        text = f"the configuration asks for {asked}; {usable_cores()} cores may be used"
        return Line("devices", text, "warning", f"set trainer.devices to at most {usable_cores()}")
    return Line("devices", asked, "ok")


def _precision_line(plan: Plan, gpus: list[dict[str, Any]], in_hardware: bool) -> Line:
    kind = "bf16" if plan.precision.startswith("bf16") else "fp16" if plan.precision.startswith("16") else ""
    used = gpus[: plan.devices] if plan.accelerator == "cuda" else []
    if lacking := [gpu["name"] for gpu in used if kind and not gpu[kind]]:
        text = f"trainer.precision is {plan.precision}; {lacking[0]} has no {kind}"
        return Line("precision", text, "problem", f"set it to {'16-mixed' if kind == 'bf16' else '32-true'}")
    if plan.accelerator == "cpu" and kind == "fp16":
        text = f"trainer.precision is {plan.precision}, which CPUs do not train in"
        return Line("precision", text, "problem", "set it to bf16-mixed or 32-true")
    if plan.accelerator == "cpu" and plan.precision == "bf16-mixed" and not in_hardware:
        return Line("precision", "32-true instead of bf16-mixed, for which this CPU has no instructions", "ok")
    return Line("precision", plan.precision, "ok")


def _process_lines(plan: Plan, backends: dict[str, bool]) -> list[Line]:
    """Of loader processes and cores, and of what connects several ranks."""
    lines = []
    processes, cores = plan.devices * (int(plan.data["workers"]) + 1), usable_cores()
    if processes > cores:
        ranks, workers = counted(plan.devices, "rank"), counted(int(plan.data["workers"]), "worker")
        text = f"{ranks} with {workers} each are {processes} processes on {counted(cores, 'core')}"
        lines.append(Line("processes", text, "warning", "set data.workers lower, or ask for more cores"))
    backend = "nccl" if plan.accelerator == "cuda" else "gloo"
    if plan.ranks > 1 and not backends.get(backend):
        text = f"{counted(plan.ranks, 'rank')} need {backend}, which this PyTorch is built without"
        lines.append(Line("connection", text, "problem", "install a PyTorch with it, or set trainer.devices to 1"))
    return lines
