"""The processor of this machine."""

import os
import platform
from pathlib import Path

_FACTS = Path("/proc/cpuinfo")
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def processor_name() -> str:
    """Its name, where the system knows it; else its kind, such as ``aarch64``."""
    return next(iter(_facts("model name")), platform.machine())


def processor_flags() -> set[str]:
    """The extensions that it has, such as ``avx512_bf16``; empty where the system does not tell."""
    return set(next(iter(_facts("flags", "Features")), "").split())


def has_bf16() -> bool:
    """Whether it tells of instructions for bfloat16; those without emulate it, which can be many times slower."""
    return bool(_BF16 & processor_flags())


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _facts(*names: str) -> list[str]:
    """What is said of all cores under one of these names."""
    try:
        lines = _FACTS.read_text().splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(names)]
