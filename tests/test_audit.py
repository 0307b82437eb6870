import json
import re
from pathlib import Path

import pytest
from tests.audit import ROOT, audited, canonical, compare, installed, main, pins

PINNED = "torch==2.13.0+cpu\nlightning==2.6.6\nPyYAML==6.0.3  # safe_load only\n\n# a comment\n"
BAD = (ROOT / "tests" / "known-bad.txt").read_text()
RIGHT = {"torch": "2.13.0", "lightning": "2.6.6", "pyyaml": "6.0.3", "pip": "25.0", "abair-pl": "0.1"}


def program(folder: Path, script: str) -> list[str]:
    """A program in place of pip-audit."""
    (folder / "pip-audit").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "pip-audit").chmod(0o755)
    return [str(folder / "pip-audit")]


def test_versions_as_pinned_are_right() -> None:
    assert compare(RIGHT, PINNED, BAD) == []


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_a_known_bad_version_is_named_even_if_it_is_pinned(version: str) -> None:
    (fault,) = compare({**RIGHT, "lightning": version}, PINNED.replace("2.6.6", version), BAD)
    assert fault.startswith(f"lightning {version} is installed and known to be bad (malware on PyPI, GHSA-")


def test_another_version_and_what_is_not_pinned_are_named() -> None:
    faults = compare({**RIGHT, "torch": "2.14.0", "left-pad": "1.0"}, PINNED, BAD)
    assert [fault.partition(" is installed")[0] for fault in faults] == ["left-pad 1.0", "torch 2.14.0"]


def test_names_are_compared_as_package_indexes_do() -> None:
    assert canonical("Lazy_Loader.x") == "lazy-loader-x"
    assert pins("A_b==1.0 ; python_version > '3' # why\n-r other.txt\nb>=2") == [("a-b", "1.0", "why")]


def test_the_lists_of_the_repository_can_be_read() -> None:
    pinned = {name: version for name, version, _ in pins((ROOT / "constraints.txt").read_text())}
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(pinned) == len(lines)
    assert pinned["lightning"] == installed()["lightning"]
    for name, version, why in pins(BAD):
        assert pinned[name] != version
        assert why
        assert f"!={version}" in re.findall(rf'"{name}[^"]*"', (ROOT / "pyproject.toml").read_text())[0]


def test_pip_audit_is_asked_where_it_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fault = {"name": "torch", "version": "2.5.1", "vulns": [{"id": "CVE-2025-32434", "fix_versions": ["2.6.0"]}]}
    answer = {"dependencies": [fault, {"name": "six", "version": "1.0", "vulns": []}]}
    (tmp_path / "answer").write_text(json.dumps(answer))
    command = program(tmp_path, f"cat {tmp_path}/answer; exit 1")
    assert audited(command) == ["torch 2.5.1: CVE-2025-32434, fixed in 2.6.0"]
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "with pip-audit" in shown
    assert "CVE-2025-32434" in shown


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'ConnectionError: no route' >&2; exit 1", "pip-audit cannot be asked (ConnectionError: no route)"),
        ("echo '[]'", "pip-audit cannot be asked (status 0)"),
        (None, "pip-audit is not installed"),
    ],
)
def test_what_was_not_done_is_said(
    script: str | None, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tmp_path / "none")] if script is None else program(tmp_path, script))
    shown = capsys.readouterr().out
    assert f"no advisories were looked up: {why}" in shown
    assert "installed packages with constraints.txt" in shown
