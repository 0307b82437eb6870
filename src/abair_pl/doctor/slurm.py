"""What SLURM starts, against what the trainer expects: they wait for each other for ever where they differ."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abair_pl.doctor.page import Line, Section, counted
from abair_pl.doctor.plan import Plan
from abair_pl.errors import InputError

_DIRECTIVE = re.compile(r"^#SBATCH[ \t]+(?:--([a-z-]+)|-([A-Za-z]))[= \t]*([^\s#]\S*)?", re.MULTILINE)
_LONG = {"N": "nodes", "n": "ntasks", "c": "cpus-per-task", "t": "time", "a": "array", "J": "job-name"}
_SIGNAL = re.compile(r"(?:([RB]+):)?(?:SIG)?([A-Z0-9]+)(?:@(\d+))?$")
_LISTENED = ("USR1", "TERM", "10", "15")
_LEAST_SECONDS = 60
"""Between the signal and the end of a job, in which a checkpoint has to be written."""

_VARIABLES = {
    "nodes": "SLURM_NNODES",
    "ntasks": "SLURM_NTASKS",
    "ntasks-per-node": "SLURM_NTASKS_PER_NODE",
    "gpus-per-node": "SLURM_GPUS_ON_NODE",
    "gpus-per-task": "SLURM_GPUS_PER_TASK",
    "cpus-per-task": "SLURM_CPUS_PER_TASK",
    "array": "SLURM_ARRAY_TASK_ID",
    "signal": "SBATCH_SIGNAL",
    "time": "SLURM_JOB_END_TIME",
    "job-name": "SLURM_JOB_NAME",
}
"""The options of sbatch, and the variables that tell a job of them."""


def read_directives(script: Path) -> dict[str, str]:
    """The options in the ``#SBATCH`` lines of a script, by their long names where they matter here.

    Raises:
        InputError: There is no such file, or none in it.
    """
    try:
        matches = _DIRECTIVE.findall(script.read_text())
    except (OSError, UnicodeDecodeError) as error:
        message = f"--sbatch {script} cannot be read ({error}); expected a job script"
        raise InputError(message) from error
    found = {name or _LONG.get(letter, letter): value or "yes" for name, letter, value in matches}
    if not found:
        message = f"--sbatch {script} has no line such as #SBATCH --nodes=2; expected a job script"
        raise InputError(message)
    return found


def check_slurm(
    plan: Plan | None = None,
    directives: Mapping[str, str] | None = None,
    seconds: float | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Section:
    """Compare the job that this process is in, or is to be sent, with a run.

    Args:
        plan: The run.
        directives: The options of a job script, where there is one.
        seconds: How long the run takes, if that is known.
        environment: The variables of the process.
    """
    inside = "SLURM_JOB_ID" in environment
    if not inside and directives is None:
        return Section("Launch", [Line("SLURM", "no job")], {"slurm": None})
    seen = {name: environment[variable] for name, variable in _VARIABLES.items() if variable in environment}
    options = {**(directives or {}), **(seen if inside else {})}
    title = f"{environment['SLURM_JOB_ID']} {options.get('job-name', '')}".strip() if inside else "of the script"
    lines = [Line("SLURM job", title)]
    if inside and options.get("job-name") in ("bash", "interactive"):
        lines.append(Line("SLURM tasks", "an interactive job: Lightning starts the processes of one node by itself"))
    elif "TORCHELASTIC_RUN_ID" in environment:
        lines.append(Line("SLURM tasks", "torchrun starts the processes"))
    else:
        lines += _task_lines(options, plan)
    lines += [*_resource_lines(options, plan), _signal_line(options.get("signal"), directives is not None)]
    if "array" in options:
        lines.append(_array_line(options["array"], environment, inside))
    if inside and seconds is not None and seen.get("time", "").isdigit():
        lines.append(_time_line(int(seen["time"]) - time.time(), seconds))
    return Section("Launch", lines, {"slurm": options})


def _task_lines(options: Mapping[str, str], plan: Plan | None) -> list[Line]:
    """Whether as many processes are started as the trainer waits for."""
    a_node, nodes, tasks = (_number(options, name) for name in ("ntasks-per-node", "nodes", "ntasks"))
    lines = []
    if a_node is None and (tasks or 1) > 1:
        text = f"SLURM starts {tasks} tasks without a number of tasks a node, which Lightning refuses"
        return [Line("SLURM tasks", text, "problem", "set #SBATCH --ntasks-per-node in place of --ntasks")]
    if plan is None:
        return [Line("SLURM tasks", f"{a_node or 1} on each of {counted(nodes or 1, 'node')}")]
    if (a_node or 1) != plan.devices:
        started = counted(a_node or 1, "task")
        text = f"SLURM starts {started} a node, the trainer expects {plan.devices}: it would wait for ever"
        remedy = f"set #SBATCH --ntasks-per-node={plan.devices}, or trainer.devices={a_node or 1}; or start by torchrun"
        lines.append(Line("SLURM tasks", text, "problem", remedy))
    if (nodes or 1) != plan.nodes:
        text = f"SLURM gives {counted(nodes or 1, 'node')}, the trainer expects {plan.nodes}: it would wait for ever"
        remedy = f"set #SBATCH --nodes={plan.nodes}, or trainer.num_nodes={nodes or 1}"
        lines.append(Line("SLURM nodes", text, "problem", remedy))
    if not lines and tasks is not None and tasks != plan.ranks:
        text = f"SLURM starts {tasks} tasks, the trainer expects {plan.ranks}: it would wait for ever"
        lines.append(Line("SLURM tasks", text, "problem", "leave out --ntasks, which --ntasks-per-node makes unneeded"))
    return lines or [
        Line("SLURM tasks", f"{plan.devices} on each of {counted(plan.nodes, 'node')}, as the trainer expects", "ok")
    ]


def _resource_lines(options: Mapping[str, str], plan: Plan | None) -> list[Line]:
    """Whether a run gets its GPUs and cores; what ``auto`` finds here is no sign of what a job has."""
    lines: list[Line] = []
    if plan is None:
        return lines
    gpus, cores = _number(options, "gpus-per-node"), _number(options, "cpus-per-task")
    on_gpus = plan.trainer["accelerator"] != "cpu"
    if on_gpus and "gpus-per-task" in options and plan.devices > 1:
        text = "--gpus-per-task shows each task one GPU only, and the trainer expects all of its node"
        remedy = f"set #SBATCH --gpus-per-node={plan.devices} in its place"
        lines.append(Line("SLURM GPUs", text, "problem", remedy))
    elif on_gpus and gpus is not None and gpus < plan.devices:
        text = f"SLURM gives {gpus} GPUs a node, the trainer expects {plan.devices}"
        lines.append(Line("SLURM GPUs", text, "problem", f"set #SBATCH --gpus-per-node={plan.devices}"))
    if cores is not None and cores < int(plan.data["workers"]) + 1:
        text = f"SLURM gives {cores} cores a task, for the training and {plan.data['workers']} workers"
        remedy = f"set #SBATCH --cpus-per-task={int(plan.data['workers']) + 1}, or data.workers lower"
        lines.append(Line("SLURM cores", text, "warning", remedy))
    return lines


def _signal_line(value: str | None, is_known: bool) -> Line:
    """Whether a job is told in time that it will be ended."""
    remedy = f"set #SBATCH --signal=SIGUSR1@{2 * _LEAST_SECONDS}"
    if value is None:
        if not is_known:
            return Line("SLURM signal", "cannot be seen from inside the job; give its script as --sbatch")
        text = "none before the time limit, so that the steps since the checkpoint are lost"
        return Line("SLURM signal", text, "warning", remedy)
    match = _SIGNAL.match(value)
    if match is None or match[2] not in _LISTENED:
        return Line(
            "SLURM signal", f"{value}, which is not listened to; expected SIGUSR1 or SIGTERM", "problem", remedy
        )
    if "B" in (match[1] or ""):
        text = f"{value} reaches only the shell of the script, and the training only if that passes it on"
        return Line("SLURM signal", text, "warning", remedy)
    if int(match[3] or _LEAST_SECONDS) < _LEAST_SECONDS:
        text = f"{value}, less than {_LEAST_SECONDS} s before the end, in which a checkpoint has to be written"
        return Line("SLURM signal", text, "warning", remedy)
    return Line("SLURM signal", value, "ok")


def _array_line(value: str, environment: Mapping[str, str], inside: bool) -> Line:
    if not inside:
        return Line("SLURM array", value)
    count = environment.get("SLURM_ARRAY_TASK_COUNT", "?")
    return Line("SLURM array", f"task {value} of {count} in {environment.get('SLURM_ARRAY_JOB_ID', '?')}")


def _time_line(left: float, seconds: float) -> Line:
    hours = f"{left / 3600:.1f} h are left of the job, the run takes {seconds / 3600:.1f} h"
    if left >= seconds:
        return Line("SLURM time", hours, "ok")
    return Line(
        "SLURM time", hours, "warning", "ask for more with #SBATCH --time, or let it requeue: --requeue and --signal"
    )


def _number(options: Mapping[str, Any], name: str) -> int | None:
    """The number in an option such as ``4``, or ``a100:4``; None where there is none."""
    found = re.search(r"(\d+)$", str(options.get(name, "")))
    return int(found[1]) if found else None
