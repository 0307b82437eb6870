import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from abair_pl.doctor import packages
from abair_pl.doctor.packages import TESTED, can_be_imported, check_packages
from abair_pl.doctor.page import Line

ROOT = Path(__file__).parents[2]


def found(monkeypatch: pytest.MonkeyPatch, package: str, version: str | None) -> Line:
    """The line of a package that is installed in a version, or not at all."""
    original = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: version if name == package else original(name))
    (line,) = [line for line in check_packages().lines if line.name == package]
    return line


def test_tested_versions_are_those_of_the_constraints() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert {name: pins[name] for name in TESTED} == TESTED


def test_tested_packages_are_required_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for listed in (project["dependencies"], requires("abair-pl") or []):
        assert {Requirement(text).name for text in listed} >= TESTED.keys(), "else their minima are not known"


def test_tested_version_is_fine_whatever_it_was_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, "torch", f"{TESTED['torch']}+cu130").mark == "ok"


def test_another_version_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    line = found(monkeypatch, "kornia", "0.9.9")
    assert (line.mark, line.text) == ("warning", f"kornia 0.9.9 is installed, {TESTED['kornia']} was tested")


def test_a_version_below_the_minimum_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    line = found(monkeypatch, "kornia", "0.7.0")
    assert line.mark == "problem"
    assert "kornia>=0.8.2 is required" in line.text
    assert line.remedy == f"run: pip install 'kornia=={TESTED['kornia']}'"


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malware_is_a_problem_and_never_imported(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    line = found(monkeypatch, "lightning", version)
    assert line.mark == "problem"
    assert "malware" in line.text
    assert not can_be_imported()


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(found(monkeypatch, "peft", None)) == "peft is not installed; run: pip install abair-pl"
    assert not can_be_imported()


def test_what_is_installed_here_can_be_imported() -> None:
    assert can_be_imported()
    assert check_packages().facts["tested"] == TESTED
