"""Files beside the package that say the same as it does: the citation, the workflow, the licences."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from abair_pl import __version__
from abair_pl.data.shards.sample import HELD_OUT_PHOTOGRAPHS, TRAIN_PHOTOGRAPHS

ROOT = Path(__file__).parents[1]


def test_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert paper["url"] == "https://arxiv.org/abs/2411.18412"
    assert paper["url"] in (ROOT / "README.md").read_text()


def test_the_changelog_tells_of_this_version() -> None:
    """Above it only what is not released yet."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    date = yaml.safe_load((ROOT / "CITATION.cff").read_text())["date-released"]
    assert released[0] == f"{__version__} - {date}"


def test_workflow_has_the_commands_of_ci_run() -> None:
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert commands


def test_licences_name_every_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    page = (ROOT / "docs" / "licences.md").read_text()
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    left_out = {*importlib.import_module("weights_recipe.shards").WITHOUT}
    named = {*HELD_OUT_PHOTOGRAPHS, *TRAIN_PHOTOGRAPHS}
    assert set(re.findall(r"`(\w+)`", rows)) & named == named - left_out
    below = page.rpartition("\n|")[2]
    assert set(re.findall(r"`(\w+)`", below)) >= left_out
