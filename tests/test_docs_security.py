"""What docs/security.md says is what the package does."""

import importlib
import re
from pathlib import Path

import pytest
from tests.fuzz.targets import TARGETS
from tests.fuzz.watch import LIMIT_MIB, LIMIT_S

PAGE = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
LIMITS = re.findall(r"^\| [^|]+ \| ([\d,]+) \| `([\w.]+)` \|$", PAGE, re.MULTILINE)


def test_there_are_limits() -> None:
    assert len(LIMITS) == 11


@pytest.mark.parametrize(("number", "constant"), LIMITS)
def test_limits_are_those_of_the_code(number: str, constant: str) -> None:
    module, _, name = constant.rpartition(".")
    assert getattr(importlib.import_module(module), name) == int(number.replace(",", ""))


def test_the_fuzzer_is_as_described() -> None:
    assert f"more than {LIMIT_S:.0f} s of a processor's time, more than 1 GiB of memory ({LIMIT_MIB} MiB beyond" in PAGE
    for target in re.findall(r"--target (\w+)", PAGE):
        assert target in {*TARGETS, "all"}


def test_files_that_are_named_exist() -> None:
    root = Path(__file__).parents[1]
    for name in re.findall(r"`((?:tests|abair_pl)/[\w./-]+)`", PAGE):
        assert (root / name).exists() or (root / "src" / name).exists(), name
