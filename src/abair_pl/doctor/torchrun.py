"""The variables by which torchrun, or whatever starts the processes by hand, tells them of each other."""

import os
from collections.abc import Mapping

from abair_pl.doctor.page import Line, Section
from abair_pl.doctor.plan import Plan

_NAMES = ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_HERE = ("localhost", "127.0.0.1", "::1")
_MOST_PORT = 65535
_RESTART = "start all processes with the torchrun line of docs/cluster.md"


def check_torchrun(plan: Plan | None = None, environment: Mapping[str, str] = os.environ) -> Section:
    """Compare the variables with each other, and with a run.

    Args:
        plan: The run, if there is one.
        environment: The variables of the process.
    """
    seen = {name: environment[name] for name in _NAMES if name in environment}
    if not seen:
        return Section("Launch", [Line("torchrun", "none of its variables")], {"torchrun": None})
    wrong = [name for name in seen if name != "MASTER_ADDR" and not seen[name].isdigit()]
    if wrong:
        lines = [Line(wrong[0], f"'{seen[wrong[0]]}'; expected a number", "problem", _RESTART)]
    else:
        lines = _faults(seen, plan)
    shown = ", ".join(f"{name}={value}" for name, value in seen.items())
    return Section("Launch", lines or [Line("torchrun", shown, "ok")], {"torchrun": seen})


def _faults(seen: dict[str, str], plan: Plan | None) -> list[Line]:
    numbers = {name: int(value) for name, value in seen.items() if name != "MASTER_ADDR"}
    world, local = numbers.get("WORLD_SIZE"), numbers.get("LOCAL_WORLD_SIZE")
    lines = []
    for rank, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if rank in numbers and size in numbers and numbers[rank] >= numbers[size]:
            text = f"{numbers[rank]}; expected less than {size}, which is {numbers[size]}"
            lines.append(Line(rank, text, "problem", _RESTART))
    if world is not None and world > 1:
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in seen]
        lines += [Line(name, f"not set, with a WORLD_SIZE of {world}", "problem", _RESTART) for name in missing]
    if "WORLD_SIZE" not in seen and "RANK" in seen:
        lines.append(Line("WORLD_SIZE", f"not set, with a RANK of {seen['RANK']}", "problem", _RESTART))
    if not 0 < numbers.get("MASTER_PORT", 1) <= _MOST_PORT:
        lines.append(Line("MASTER_PORT", f"{seen['MASTER_PORT']}; expected 1 to {_MOST_PORT}", "problem", _RESTART))
    if plan is None:
        return lines
    if world is not None and world != plan.ranks:
        text = f"{world}; the trainer expects {plan.devices} devices x {plan.nodes} nodes = {plan.ranks}"
        remedy = "set trainer.devices and trainer.num_nodes to what torchrun starts"
        lines.append(Line("WORLD_SIZE", text, "problem", remedy))
    elif local is not None and local != plan.devices:
        text = f"{local}; the trainer expects {plan.devices} devices"
        lines.append(Line("LOCAL_WORLD_SIZE", text, "problem", f"set --nproc-per-node={plan.devices}"))
    if plan.nodes > 1 and seen.get("MASTER_ADDR") in _HERE:
        text = f"{seen['MASTER_ADDR']}, which other nodes cannot reach; expected an address of the first node"
        lines.append(Line("MASTER_ADDR", text, "problem", _RESTART))
    return lines
