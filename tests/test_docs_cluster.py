"""What docs/cluster.md says is what the package does: its commands are read by what they are for."""

import re
import shlex
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from abair_pl.cli import main
from abair_pl.data.batch_split import split_batch
from abair_pl.models.presets import PRESETS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cluster.md").read_text()
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
FITS = [line for line in LINES if line.startswith("abair-pl fit")]
JOBS = [line for line in LINES if "sbatch " in line and not line.startswith("abair-pl")]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def is_read(words: list[str]) -> bool:
    return main([*words, "--print_config"]) == 0


def script_of(line: str) -> tuple[Path, list[str]]:
    """The job script of a line with sbatch, and the options after it."""
    words = shlex.split(line.replace("$(", "").removesuffix(")"))
    place = next(index for index, word in enumerate(words) if word.endswith(".sbatch"))
    return ROOT / words[place], words[place + 1 :]


@pytest.mark.parametrize("line", FITS)
def test_fits_are_read(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert is_read(shlex.split(line)[1:])


@pytest.mark.parametrize("line", JOBS)
def test_jobs_are_read_with_what_their_scripts_add(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    script, options = script_of(line)
    configs = re.findall(r"--config (\S+\.yaml)", script.read_text())
    own = re.findall(r"(--(?:model|trainer|data)\.\S+) (\S+)", script.read_text().partition("exec ")[2])
    words = [word for config in configs for word in ("--config", config)]
    words += [word for name, value in own for word in (name, value.replace('"$name"', "rain"))]
    assert is_read(["fit", *words, *options])


def test_the_recipe_is_of_all_phases_in_their_order() -> None:
    names = [script_of(line)[0].stem for line in JOBS[:3]]
    assert names == ["pretrain", "adapters", "estimator"]
    assert all(f"afterok:${name}" in line for name, line in zip(names, JOBS[1:3], strict=False))


def test_torchrun_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = [line for line in LINES if line.startswith("torchrun ")]
    given = get_args_parser().parse_args(shlex.split(line)[1:])
    assert (given.module, given.training_script) == (True, "abair_pl.cli")
    options = given.training_script_args
    assert options[options.index("--trainer.num_nodes") + 1] == given.nnodes
    assert options[options.index("--trainer.devices") + 1] == given.nproc_per_node
    assert is_read(options)


def test_every_fragment_and_script_is_named() -> None:
    for folder in ("configs/trainer", "scripts/slurm"):
        names = {path.name for path in (ROOT / folder).iterdir()}
        assert {name for name in names if f"`{name}`" in PAGE} == names


def test_splits_are_printed_so() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+|none) \| (\d+) \| (batch of .*) \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 4
    for batch, largest, devices, printed in rows:
        split = split_batch(int(batch), int(devices), None if largest == "none" else int(largest))
        assert str(split) == printed


def test_the_largest_preset_has_its_size() -> None:
    assert "paper" in PRESETS
    parameters, bytes_each = 59.5e6, 4 * 5  # weight, gradient, two moments, average
    assert f"{parameters * bytes_each / 1e9:.1f} GB" in PAGE


@pytest.mark.parametrize("script", sorted((ROOT / "scripts" / "slurm").glob("*.sbatch")), ids=lambda path: path.name)
def test_scripts_ask_for_what_the_page_says(script: Path) -> None:
    (row,) = re.findall(rf"^\| `{script.name}` \| (.*) \|$", PAGE, re.MULTILINE)
    text = script.read_text()
    (nodes,) = re.findall(r"--nodes=(\d+)", text)
    (gpus,) = re.findall(r"--gpus-per-node=(\d+)", text)
    expected = {"pretrain": f"{nodes} nodes of {gpus} GPUs", "adapters": "one GPU", "estimator": f"the {gpus} GPUs of"}
    assert expected[script.stem] in row
