import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from abair_pl.doctor.page import Section
from abair_pl.doctor.plan import Plan
from abair_pl.doctor.tracking import check_tracking, is_logged_in

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def online(plan: Plan, change: Callable[..., Plan]) -> Plan:
    return change(plan, {"tracking.wandb": "online"})


@pytest.fixture
def nobody(tmp_path: Path) -> dict[str, str]:
    """An environment without a key."""
    return {"NETRC": str(tmp_path / "netrc")}


def said(section: Section) -> tuple[str, str]:
    (line,) = section.lines
    return line.mark, line.text


def test_modes(plan: Plan, change: Callable[..., Plan], nobody: dict[str, str]) -> None:
    assert said(check_tracking(plan, nobody))[1].startswith("not used")
    assert said(check_tracking(change(plan, {"tracking.wandb": "offline"}), nobody)) == ("ok", "offline")
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"offline": True}}
    assert said(check_tracking(change(plan, {"trainer.logger": [logger]}), nobody)) == ("ok", "offline")


def test_online_without_a_key_is_a_problem(online: Plan, nobody: dict[str, str]) -> None:
    section = check_tracking(online, nobody)
    assert said(section) == ("problem", "online, and not logged in")
    assert section.facts == {"tracking": {"mode": "online", "logged_in": False}}


@pytest.mark.parametrize(
    ("mode", "expected"), [("offline", "ok"), ("dryrun", "ok"), ("disabled", "warning"), ("onlin", "problem")]
)
def test_variable_goes_before_an_online_configuration(
    mode: str, expected: str, online: Plan, nobody: dict[str, str]
) -> None:
    assert said(check_tracking(online, {**nobody, "WANDB_MODE": mode}))[0] == expected


def test_key_of_the_environment_is_never_shown(online: Plan, nobody: dict[str, str]) -> None:
    section = check_tracking(online, {**nobody, "WANDB_API_KEY": KEY})
    assert said(section) == ("ok", "online, logged in")
    assert KEY not in json.dumps(asdict(section))


def test_key_of_netrc_counts_for_its_server(tmp_path: Path, nobody: dict[str, str]) -> None:
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert is_logged_in(nobody)
    assert not is_logged_in({**nobody, "WANDB_BASE_URL": "https://wandb.example.org"})


def test_damaged_netrc_is_no_key(tmp_path: Path, nobody: dict[str, str]) -> None:
    (tmp_path / "netrc").write_text("machine\n")
    assert not is_logged_in(nobody)


def test_without_a_run_the_mode_is_what_it_would_be(nobody: dict[str, str]) -> None:
    assert said(check_tracking(None, nobody)) == ("", "online where it is asked for; not logged in")
