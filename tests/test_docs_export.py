"""What docs/export.md says is what the package does."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from abair_pl.bundle import Bundle
from abair_pl.cli import main
from abair_pl.export.capture import MAX_SIDE_PX
from abair_pl.export.facts import export_facts
from abair_pl.export.files import FACTS_FILE, MAX_OPSET, MIN_OPSET
from abair_pl.export.restorer import ExportedRestorer, exported_restorer
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config
from abair_pl.restore import Abair

PAGE = (Path(__file__).parents[1] / "docs" / "export.md").read_text()
COMMANDS = [shlex.split(line, comments=True)[1:] for line in PAGE.splitlines() if line.startswith("abair-pl export")]
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_table_gives_the_sizes() -> None:
    (size,) = [line for line in PAGE.splitlines() if line.startswith("| size |")]
    (padding,) = [line for line in PAGE.splitlines() if line.startswith("| padding |")]
    assert f"at most {MAX_SIDE_PX:,} |" in size
    for preset in ("tiny", "small", "paper"):
        with torch.device("meta"):
            restorer = ExportedRestorer(Backbone(preset_config(preset), 6))
        assert re.search(rf"{restorer.minimum_px} px with [^,)]*`{preset}`", size), preset
        assert re.search(rf"{restorer.multiple_px} px \([^)]*`{preset}`", padding), preset
    assert f"# {MIN_OPSET} to {MAX_OPSET};" in PAGE


def test_facts_are_all_named(bundle: Bundle) -> None:
    said = PAGE.partition("## What it says about itself")[2].partition("```")[0]
    facts = export_facts(bundle, exported_restorer(bundle, None), None)
    assert set(re.findall(r"`(\w+)`", said)) == set(facts)
    assert f"`{FACTS_FILE}`" in said


@pytest.mark.slow
def test_commands_and_examples_run(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle_path, tmp_path / "runs" / "bundle")
    for command in COMMANDS:
        assert main(command) == 0
    model, image = (
        Abair.from_pretrained(bundle_path, "cpu"),
        np.random.default_rng(0).random((1, 3, 40, 50), np.float32),
    )
    expected = model.restore(torch.from_numpy(image[0]), weights={"rain": 0.7, "haze": 0.3}).restored.numpy()
    names: dict[str, object] = {"image": image}
    for code in PYTHON:
        exec(compile(code, "docs/export.md", "exec"), names)  # noqa: S102 - the page's own examples
        assert np.abs(np.asarray(names.pop("restored"))[0] - expected).max() < 1e-4
