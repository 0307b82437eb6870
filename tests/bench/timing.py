"""Seconds of candidates that are measured alternately in one run, so that a drifting machine drifts for all."""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

ROUNDS = 7


def alternate(candidates: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each candidate over rounds; one more, the first, warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_index in range(rounds + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if round_index:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def report(title: str, seconds: dict[str, float], images: int) -> None:
    """Print each candidate's rate, and how many times the first one's time it takes."""
    first = next(iter(seconds.values()))
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<44}{images / value:10.1f} images/s{value / first:8.2f} x the time of the first")


def synchronized(device: torch.device, run: Callable[[], object]) -> Callable[[], object]:
    """The same call, over only when the device is done."""

    def timed() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return timed
