"""What README.md says is what the package does."""

import inspect
import json
import re
import shlex
from pathlib import Path

import pytest

from abair_pl.bundle_config import FORMAT_VERSION
from abair_pl.cli import _functions, main
from abair_pl.models.presets import PRESETS
from abair_pl.models.weights import BLEND_MODES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "README.md").read_text()
TRAINER = ("fit", "validate", "test", "predict")
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("abair-pl ") and line.split()[1] not in TRAINER]


def cells(start: str) -> list[str]:
    """The cells of the one row of a table that starts so."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {start}")]
    return row.strip("| ").split(" | ")


@pytest.mark.parametrize("preset", PRESETS)
def test_table_gives_the_sizes_of_the_presets(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--preset", preset, "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)
    names = ("backbone", "five_adapters_rank_4", "estimator", "whole")
    expected = [f"{sizes[f'{name}_parameters'] / 1e6:.2f} M" for name in names]
    found = cells(f"`{preset}`")[1:5]
    assert [size.partition(",")[0] for size in found] == expected
    for head in re.findall(r"segmentation head (.*)", found[0]):
        assert head == f"{sizes['segmentation_head_parameters'] / 1e6:.2f} M"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_these_options(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    functions = _functions(words[0])
    function = functions[""] if "" in functions else functions[words[1]]
    parameters = inspect.signature(function).parameters
    options = {f"--{name.rstrip('_').replace('_', '-')}" for name in parameters}
    assert {word for word in words if word.startswith("--")} <= options


def test_commands_are_all_there() -> None:
    shown = {" ".join(command.split()[1:3]) for command in COMMANDS}
    for group in ("adapters", "bundle"):
        assert {f"{group} {name}" for name in _functions(group)} <= shown


def test_table_gives_the_blends() -> None:
    table = PAGE.partition("| `--blend` |")[2].partition("\n\n")[0]
    firsts = [name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert sorted(firsts) == sorted([*BLEND_MODES, "none"])


def test_format_of_bundles() -> None:
    assert f"Its format is {FORMAT_VERSION}." in PAGE


def test_links_lead_to_files() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
