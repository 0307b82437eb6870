"""``make audit``: are the installed packages known to be harmful?

By pip-audit where it is installed and its service answers. Else by what is kept in this repository: installed versions
have to be those of ``constraints.txt``, and none may be in ``tests/known-bad.txt``. Which of the two was done is said.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 180
_OWN = {"abair-pl", "pip", "setuptools", "wheel"}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)[^#]*(?:#\s*(.*))?$")

Versions = Mapping[str, str]


def canonical(name: str) -> str:
    """A package's name as package indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> list[tuple[str, str, str]]:
    """Name, version and comment of each line ``name==version  # comment``."""
    found = filter(None, map(_PIN.match, text.splitlines()))
    return [(canonical(match[1]), match[2], match[3] or "") for match in found]


def installed() -> dict[str, str]:
    """The versions of all installed packages by name."""
    return {canonical(entry.metadata["Name"]): entry.version for entry in distributions()}


def compare(found: Versions, constraints: str, known_bad: str) -> list[str]:
    """What is wrong with installed versions by the lists of this repository.

    Args:
        found: Installed versions by name.
        constraints: The text of ``constraints.txt``.
        known_bad: The text of ``known-bad.txt``.
    """
    pinned = {name: version for name, version, _ in pins(constraints)}
    faults = [
        f"{name} {version} is installed and known to be bad ({why}): pip install --constraint constraints.txt {name}"
        for name, version, why in pins(known_bad)
        if found.get(name) == version
    ]
    for name, version in sorted(found.items()):
        if name in _OWN:
            continue
        if name not in pinned:
            faults.append(f"{name} {version} is installed and not in constraints.txt: pin it, or remove it")
        elif version.partition("+")[0] != pinned[name].partition("+")[0]:
            faults.append(
                f"{name} {version} is installed, constraints.txt has {pinned[name]}: make clean demo, or pin it"
            )
    return faults


def audited(command: list[str]) -> list[str] | str:
    """What pip-audit knows of the pinned versions; a text, why it could not be asked.

    Args:
        command: How it is called.
    """
    options = ["--requirement", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except FileNotFoundError:
        return "pip-audit is not installed"
    except subprocess.TimeoutExpired:
        return f"pip-audit has not answered in {TIMEOUT_S} s"
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines()
        return f"pip-audit cannot be asked ({said[-1] if said else f'status {done.returncode}'})"
    return [
        f"{package['name']} {package['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'none'}"
        for package in packages
        for fault in package.get("vulns", [])
    ]


def main(command: list[str] | None = None) -> int:
    """Audit, and tell how it was done; 1 where anything was found."""
    known = audited(command or [str(Path(sys.executable).with_name("pip-audit"))])
    found, constraints = installed(), (ROOT / "constraints.txt").read_text()
    faults = compare(found, constraints, (ROOT / "tests" / "known-bad.txt").read_text())
    print(f"compared {len(found)} installed packages with constraints.txt and tests/known-bad.txt")
    if isinstance(known, str):
        print(f"no advisories were looked up: {known}; install it with: pip install pip-audit")
    else:
        print(f"looked up the advisories of {len(pins(constraints))} pinned versions with pip-audit")
        faults += known
    print("\n".join(faults) if faults else "nothing found")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
