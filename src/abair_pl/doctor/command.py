"""``abair-pl doctor``: all checks on one page, or as one JSON object."""

import json as json_module
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from abair_pl.doctor.packages import can_be_imported, check_packages
from abair_pl.doctor.page import Line, Section, error_line, facts_of, page
from abair_pl.errors import AbairError, InputError

if TYPE_CHECKING:
    from abair_pl.doctor.dry_run import Measures
    from abair_pl.doctor.plan import Plan

_DIVIDING = ("fsdp", "deepspeed", "modelparallel")
"""In the names of strategies that divide the weights over devices."""


def doctor(
    config: list[Path] | None = None,
    override: list[str] | None = None,
    preset: str | None = None,
    shards: str | None = None,
    output: Path | None = None,
    sbatch: Path | None = None,
    verify_hashes: bool = False,
    steps: int = 2,
    json: bool = False,
) -> int:
    """Check packages, machine, shards, launch, disk and tracking, and try a run, before it takes days.

    Args:
        config: The configurations of a run, as ``fit`` takes them; a few steps of it are tried.
        override: Changes to them: NAME=VALUE, as ``fit`` has --NAME VALUE, such as data.batch_size=8.
        preset: Also count this preset's parameters (backbone, adapters, estimator), and its FLOPs for 256 x 256 pixels.
        shards: Also check these shards: a folder, or a path with braces.
        output: Where runs are to be written; if left out, where the configuration says, or here.
        sbatch: A job script whose #SBATCH lines are compared with the run before it is sent.
        verify_hashes: Compare the hash of every shard with its manifest, instead of two of them.
        steps: Measured steps of the dry run, after one to warm up; 0 leaves it out.
        json: Print one JSON object instead of the page.

    Returns:
        0, or 1 where something would break.

    Raises:
        InputError: An argument or the configuration is wrong.
    """
    if steps < 0:
        message = f"--steps is {steps}; expected 0 or more"
        raise InputError(message)
    if override and not config:
        message = (
            f"--override {override[0]} changes a configuration; expected one, such as --config configs/pretrain.yaml"
        )
        raise InputError(message)
    packages = check_packages()
    if can_be_imported():
        sections = [
            packages,
            *_others(config or [], override or [], preset, shards, output, sbatch, verify_hashes, steps),
        ]
    else:
        sections = [packages, Section("Others", [Line("not looked at", "as packages are missing, or do harm")])]
    facts = facts_of(sections)
    print(json_module.dumps(facts) if json else page(sections))
    return AbairError.exit_status if facts["problems"] else 0


def _others(
    config: list[Path],
    changes: list[str],
    preset: str | None,
    shards: str | None,
    output: Path | None,
    sbatch: Path | None,
    verify_hashes: bool,
    steps: int,
) -> list[Section]:
    """All checks but that of the packages, which are imported here."""
    from abair_pl.doctor.machine import check_machine
    from abair_pl.doctor.output import check_output
    from abair_pl.doctor.plan import read_plan
    from abair_pl.doctor.shards import check_shards
    from abair_pl.doctor.sizes import check_sizes
    from abair_pl.doctor.slurm import check_slurm, read_directives
    from abair_pl.doctor.torchrun import check_torchrun
    from abair_pl.doctor.tracking import check_tracking

    sizes = [] if preset is None else [check_sizes(preset)]
    directives = None if sbatch is None else read_directives(sbatch)
    plan = read_plan(config, changes) if config else None
    elsewhere = sbatch is not None and "SLURM_JOB_ID" not in os.environ
    machine, data = check_machine(plan, elsewhere), check_shards(shards, plan, verify_hashes)
    tried, measures = ([], None) if plan is None else _tried(plan, machine, data, steps, elsewhere)
    seconds = tried[-1].facts["forecast"]["seconds"] if measures is not None else None
    return [
        machine,
        data,
        check_slurm(plan, directives, seconds),
        check_torchrun(plan),
        check_output(output, plan, measures),
        check_tracking(plan),
        *tried,
        *sizes,
    ]


def _tried(
    plan: "Plan", machine: Section, data: Section, steps: int, elsewhere: bool
) -> "tuple[list[Section], Measures | None]":
    """The dry run, where nothing is known that would end it, and this machine has the kind of device it is for."""
    from abair_pl.doctor.dry_run import dry_run
    from abair_pl.doctor.forecast import check_measures

    title, nothing = "Dry run", {"dry_run": None, "forecast": None}
    if plan.max_steps < 1:
        text = "trainer.max_steps is not set, so that the run has no last step, at which the learning rate would end"
        line = Line("steps", text, "problem", "set trainer.max_steps")
        return [Section(title, [line], nothing)], None
    why = ""
    if steps == 0:
        why = "left out by --steps 0"
    elif machine.marked("problem") or data.marked("problem"):
        why = "left out, as what is said above would end it"
    elif elsewhere and plan.trainer["accelerator"] != "cpu" and not machine.facts["gpus"]:
        why = "left out, as this machine has no GPU, and the job is for another"
    if why:
        return [Section(title, [Line("steps", why)], nothing)], None
    try:
        measures = dry_run(plan, steps)
    except AbairError as error:
        return [Section(title, [_failed(plan, error)], nothing)], None
    return [check_measures(plan, measures)], measures


def _failed(plan: "Plan", error: AbairError) -> Line:
    """What a dry run that failed means: nothing for sure where one device has to hold what several would divide."""
    line = error_line("steps", error)
    if plan.ranks == 1 or not any(name in plan.strategy for name in _DIVIDING):
        return line
    text = f"{line.text} (on one device, where the run divides its weights over {plan.ranks})"
    return replace(line, text=text, mark="warning")
