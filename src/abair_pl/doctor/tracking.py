"""Whether W&B is used, where it writes, and whether it would be let in; no key is ever shown."""

import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from abair_pl.doctor.page import Line, Section
from abair_pl.doctor.plan import Plan

_MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")
_SAME = {"dryrun": "offline", "run": "online"}
_HOST = "https://api.wandb.ai"


def check_tracking(plan: Plan | None = None, environment: Mapping[str, str] = os.environ) -> Section:
    """Find out the mode of W&B, by the configuration and ``WANDB_MODE``.

    Args:
        plan: The run, if there is one; without one the mode that it would have.
        environment: The variables of the process.
    """
    given = environment.get("WANDB_MODE")
    if given and given not in _MODES:
        text = f"WANDB_MODE is {given}; expected one of: {', '.join(_MODES)}"
        return Section(
            "W&B",
            [Line("W&B", text, "problem", "set it to offline")],
            {"tracking": {"mode": given, "logged_in": is_logged_in(environment)}},
        )
    wanted = "online" if plan is None else _wanted(plan)
    mode = _SAME.get(given or "", given) if given and wanted == "online" else wanted
    logged_in = is_logged_in(environment)
    facts = {"tracking": {"mode": mode, "logged_in": logged_in}}
    said = "logged in" if logged_in else "not logged in"
    if plan is None:
        return Section("W&B", [Line("W&B", f"{mode or 'none'} where it is asked for; {said}")], facts)
    if mode is None:
        return Section("W&B", [Line("W&B", "not used; --config configs/wandb/tracking.yaml would")], facts)
    if mode == "online" and not logged_in:
        remedy = "run: wandb login, or set tracking.wandb=offline"
        return Section("W&B", [Line("W&B", f"online, and {said}", "problem", remedy)], facts)
    if mode == "disabled":
        remedy = "unset WANDB_MODE"
        return Section("W&B", [Line("W&B", "asked for, and disabled by WANDB_MODE", "warning", remedy)], facts)
    return Section("W&B", [Line("W&B", f"{mode}, {said}" if mode == "online" else mode, "ok")], facts)


def is_logged_in(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a key: in ``WANDB_API_KEY``, or in netrc for the server of ``WANDB_BASE_URL``."""
    if environment.get("WANDB_API_KEY"):
        return True
    host = urlsplit(environment.get("WANDB_BASE_URL") or _HOST).hostname or ""
    named = environment.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            found = netrc.netrc(path).hosts.get(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if found is not None and found[2]:
            return True
    return False


def _wanted(plan: Plan) -> str | None:
    """The mode that the configuration asks for: ``online``, ``offline`` or none."""
    tracking = plan.settings["tracking"]["wandb"]
    if tracking is not None:
        return str(tracking)
    loggers = plan.trainer["logger"]
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, dict) and str(logger["class_path"]).endswith("WandbLogger"):
            return "offline" if (logger.get("init_args") or {}).get("offline") else "online"
    return None
