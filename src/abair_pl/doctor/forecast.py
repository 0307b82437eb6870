"""From a few steps to the whole run: how long it takes, and how much memory."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from abair_pl.doctor.dry_run import Measures
from abair_pl.doctor.machine import GIB, memory_bytes
from abair_pl.doctor.page import Line, Section, counted
from abair_pl.doctor.plan import Plan

_MOST_WAITING = 0.3
"""Share of a step that the loader may be waited for before it is worth a warning."""

_NEARLY = 0.9
"""Share of a memory that may be taken before it is worth a warning."""

_SANITY = 2  # Lightning's own number of batches
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


@dataclass(frozen=True)
class Forecast:
    """What a whole run takes, by a dry run on one device: what devices tell each other is left out.

    Attributes:
        steps: Optimizer steps.
        validations: Number of whole validations.
        validation_seconds: Seconds of one.
        seconds: Seconds of all; checkpoints are left out.
        images_per_second: Over all devices, without the validations.
        node_bytes: Main memory of all processes on a node.
    """

    steps: int
    validations: int
    validation_seconds: float
    seconds: float
    images_per_second: float
    node_bytes: int


def forecast(plan: Plan, measures: Measures) -> Forecast:
    """Work out a whole run.

    Args:
        plan: The run, with a last step.
        measures: What a few steps of it took.
    """
    batches = _validation_batches(plan, measures)
    count = _validations(plan) if batches else 0
    one = measures.validation_start_seconds + batches * measures.validation_batch_seconds
    sanity = plan.trainer["num_sanity_val_steps"]
    first = _SANITY if sanity is None else batches if sanity == -1 else int(sanity)
    sanity_seconds = min(first, batches) * measures.validation_batch_seconds
    return Forecast(
        steps=plan.max_steps,
        validations=count,
        validation_seconds=one,
        seconds=plan.max_steps * measures.step_seconds + count * one + sanity_seconds,
        images_per_second=plan.ranks * measures.step_images / measures.step_seconds,
        node_bytes=plan.devices * (measures.peak_bytes + measures.worker_bytes),
    )


def check_measures(plan: Plan, measures: Measures) -> Section:
    """Judge what a dry run took, and what the whole run will."""
    found = forecast(plan, measures)
    parts = ", ".join(f"{part} {share:.0%}" for part, share in measures.shares.items())
    rate = f"{found.images_per_second:.1f} images/s{'' if plan.ranks == 1 else f' on {plan.ranks} devices'}"
    lines = [
        Line("steps", f"{measures.steps} after one to warm up, {measures.step_seconds:.3g} s each, {rate}", "ok"),
        _shares_line(measures, parts),
        Line("parameters", f"{measures.trained_parameters:,} trained of {measures.parameters:,}"),
        _length_line(found),
        _memory_line(found, plan),
        *_gpu_lines(measures),
    ]
    return Section("Dry run", lines, {"dry_run": asdict(measures), "forecast": asdict(found)})


def duration(seconds: float) -> str:
    """Seconds for people.

    Examples:
        >>> duration(42.4), duration(200), duration(4000), duration(200000)
        ('42 s', '3 min 20 s', '1 h 7 min', '2 d 8 h')
    """
    names = [*_UNITS, ("s", 1)]
    for (name, unit), (finer, small) in pairwise(names):
        if seconds >= unit:
            whole, rest = divmod(round(seconds / small) * small, unit)
            return f"{whole:.0f} {name} {rest / small:.0f} {finer}"
    return f"{seconds:.0f} s"


def _validation_batches(plan: Plan, measures: Measures) -> int:
    """Batches of a validation on one device: all workers of all devices read equally many photographs."""
    share = math.ceil(measures.validation_samples / (plan.ranks * plan.readers))
    batches = plan.readers * math.ceil(share / measures.validation_batch_size)
    limit = plan.trainer["limit_val_batches"]
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _validations(plan: Plan) -> int:
    """Whole validations of a run: the stream of training batches is endless, so that only a number of them counts."""
    interval: Any = plan.trainer["val_check_interval"]
    if not isinstance(interval, int):
        return 0
    by_steps = plan.trainer["check_val_every_n_epoch"] is None  # the data module sees to that
    return plan.max_steps * (1 if by_steps else plan.split().accumulated) // interval


def _length_line(found: Forecast) -> Line:
    length = f"{counted(found.steps, 'step')}, {duration(found.seconds)}"
    if not found.validations:
        text = f"{length}, in which no validation falls"
        return Line("whole run", text, "warning", "set trainer.val_check_interval to at most trainer.max_steps")
    validations = f"{counted(found.validations, 'validation')} of {duration(found.validation_seconds)}"
    return Line("whole run", f"{length}, with {validations}; checkpoints left out", "ok")


def _shares_line(measures: Measures, parts: str) -> Line:
    if measures.shares["data"] <= _MOST_WAITING:
        return Line("time", parts, "ok")
    text = f"{parts}: the training waits for its loader"
    return Line("time", text, "warning", "set data.workers higher, or data.cache_dir to a local disk")


def _memory_line(found: Forecast, plan: Plan) -> Line:
    here = memory_bytes()
    processes = f"{counted(plan.devices, 'rank')} with workers"
    text = f"{found.node_bytes / GIB:.2f} of {here / GIB:.1f} GiB for {processes}"
    remedy = "set data.workers, data.shuffle_buffer or data.batch_size lower"
    if found.node_bytes > here:
        return Line("memory", text, "problem", remedy)
    return Line("memory", text, *(("warning", remedy) if found.node_bytes > _NEARLY * here else ("ok",)))


def _gpu_lines(measures: Measures) -> list[Line]:
    if measures.gpu_bytes is None or measures.gpu_reserved_bytes is None or measures.gpu_total_bytes is None:
        return []
    total = measures.gpu_total_bytes
    taken = f"{measures.gpu_reserved_bytes / GIB:.2f} of {total / GIB:.1f} GiB taken"
    text = f"{measures.gpu_bytes / GIB:.2f} GiB of tensors, {taken}"
    if measures.gpu_reserved_bytes <= _NEARLY * total:
        return [Line("GPU memory", text, "ok")]
    return [Line("GPU memory", text, "warning", "set a smaller batch of a device, or model.execution.checkpointing")]
