"""The processor of this machine."""

import os
import platform
from pathlib import Path

import pytest

from abair_pl import processor
from abair_pl.processor import has_bf16, processor_flags, processor_name, usable_cores

FACTS = """processor : 0
model name\t: AMD EPYC: 7B13
flags : sse avx512_bf16
model name : b
flags : other
"""


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the system tells."""
    monkeypatch.setattr(processor, "_FACTS", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    return tmp_path / "cpuinfo"


def test_the_first_core_speaks_for_all(facts: Path) -> None:
    facts.write_text(FACTS)
    assert processor_name() == "AMD EPYC: 7B13"
    assert processor_flags() == {"sse", "avx512_bf16"}


def test_arm_calls_them_features(facts: Path) -> None:
    facts.write_text("Features : fp bf16\n")
    assert (processor_name(), processor_flags()) == ("aarch64", {"fp", "bf16"})


@pytest.mark.parametrize("text", ["", None])
def test_a_system_that_does_not_tell(facts: Path, text: str | None) -> None:
    if text is not None:
        facts.write_text(text)
    assert (processor_name(), processor_flags()) == ("aarch64", set())


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("flags", "there"), [("sse avx512_bf16", True), ("avx512f amx_bf16", True), ("avx512f avx2", False), ("", False)]
)
def test_bfloat16_is_there_or_not(facts: Path, flags: str, there: bool) -> None:
    facts.write_text(f"flags : {flags}\n")
    assert has_bf16() == there
