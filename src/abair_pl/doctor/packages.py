"""Which packages are installed, against the versions that were tested and those that are required."""

import platform
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from abair_pl.doctor.page import Line, Section

TESTED = {
    "torch": "2.13.0",
    "lightning": "2.6.6",
    "torchmetrics": "1.9.0",
    "peft": "0.21.2",
    "kornia": "0.9.0",
    "albumentations": "2.0.8",
    "webdataset": "1.0.2",
    "wandb": "0.31.0",
}
"""The main packages as ``constraints.txt``, which is not installed, pins them."""

_MALWARE = {("lightning", "2.6.2"), ("lightning", "2.6.3")}
_ADVISORY = "GHSA-w37p-236h-pfx3"


def check_packages() -> Section:
    """Compare what is installed with what was tested and what is required; nothing of it is imported."""
    facts: dict[str, Any] = {name: _version(name) for name in TESTED}
    required = _required()
    lines = [_judged(name, found, required.get(name)) for name, found in facts.items()]
    facts["python"] = platform.python_version()
    lines.append(Line("python", platform.python_version()))
    return Section("Packages", lines, {**facts, "tested": dict(TESTED)})


def can_be_imported() -> bool:
    """Whether all packages are there, and none is known to do harm as soon as it is imported."""
    found = {(name, _version(name)) for name in TESTED}
    return all(version is not None for _, version in found) and not found & _MALWARE


def _judged(name: str, found: str | None, required: Requirement | None) -> Line:
    tested = TESTED[name]
    install = f"run: pip install '{name}=={tested}'"
    if found is None:
        return Line(name, f"{name} is not installed", "problem", "run: pip install abair-pl")
    if (name, found) in _MALWARE:
        remedy = f"{install}, and change all passwords and keys that this account could read"
        return Line(name, f"{name} {found} is malware ({_ADVISORY})", "problem", remedy)
    if required is not None and not required.specifier.contains(found, prereleases=True):
        return Line(name, f"{name} {found} is installed, {required} is required", "problem", install)
    if Version(found).public != tested:
        return Line(name, f"{name} {found} is installed, {tested} was tested", "warning", f"if in doubt, {install}")
    return Line(name, found, "ok")


def _required() -> dict[str, Requirement]:
    """What the package's own metadata require, by name; extras left out."""
    try:
        found = [Requirement(text) for text in requires("abair-pl") or []]
    except PackageNotFoundError:
        return {}
    return {each.name: each for each in found if each.marker is None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
