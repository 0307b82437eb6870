"""What docs/faults.md says is what the package does."""

import inspect
import re
from pathlib import Path

import pytest

from abair_pl.modules.callbacks import RollingCheckpoint
from abair_pl.modules.callbacks.throughput import STARVED
from abair_pl.modules.guard import GuardConfig
from abair_pl.modules.trainer import PhaseTrainer

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text()


@pytest.mark.parametrize("name", inspect.signature(GuardConfig).parameters)
def test_page_gives_the_guard_with_its_defaults(name: str) -> None:
    default = inspect.signature(GuardConfig).parameters[name].default
    assert f"- `{name}` ({default:g})" in PAGE


@pytest.mark.parametrize("name", ["every_n_steps", "keep"])
def test_page_names_what_a_checkpoint_is_set_by(name: str) -> None:
    assert f"`{name}`" in PAGE
    assert name in inspect.signature(RollingCheckpoint).parameters


def test_page_gives_the_commands_option_and_files() -> None:
    assert "--resume auto" in PAGE
    assert "resume" in inspect.signature(PhaseTrainer.fit).parameters
    assert f"over {STARVED:.0%} of the time".replace("%", " %") in PAGE
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists()
    for path in re.findall(r"`(tests/faults/[^`]*)`", PAGE):
        assert (ROOT / path).exists()
