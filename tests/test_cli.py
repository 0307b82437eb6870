"""The command line's contract: fast help, and one clear line for every wrong input."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from abair_pl import __version__
from abair_pl.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"


def fails_in_one_line(arguments: list[str], capfd: pytest.CaptureFixture[str], *words: str, status: int = 2) -> None:
    """Run a command that must fail, and check its status and that one line with these words says why."""
    assert main(arguments) == status
    lines = [line for line in capfd.readouterr().err.splitlines() if "error" in line.lower()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("abair-pl: error: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(autouse=True)
def _quiet_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's log handler keeps the stream of the test that imported it, which is closed by now."""
    monkeypatch.setattr(logging, "raiseExceptions", False)


@pytest.fixture
def fit(sample_shards: Path, tmp_path: Path) -> list[str]:
    """A pretraining command that would work."""
    return [
        *("fit", "--config", str(CONFIGS / "pretrain.yaml"), "--model.preset", "tiny"),
        *("--model.save_to", str(tmp_path / "bundle"), "--trainer.default_root_dir", str(tmp_path)),
        *("--data.train", str(sample_shards / "train"), "--data.val", str(sample_shards / "val")),
        *("--data.workers", "0", "--data.patch_px", "32", "--data.val_patch_px", "32", "--data.batch_size", "2"),
        *("--trainer.accelerator", "cpu", "--trainer.fast_dev_run", "true"),
        *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    ]


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    return path


def test_help_lists_the_commands_without_heavy_imports() -> None:
    probe = "import sys; from abair_pl.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-m", "abair_pl.cli", "--help"], capture_output=True, text=True, check=True)
    commands = (
        "fit",
        "validate",
        "test",
        "predict",
        "shards",
        "restore",
        "app",
        "evaluate",
        "benchmark",
        "ablate",
        "bundle",
        "adapters",
        "export",
        "doctor",
    )
    assert [line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ")] == list(commands)
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, "--help imported torch"


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out.strip() == f"abair-pl {__version__}"


EXPLAINED = [
    *("restore", "evaluate", "export", "doctor", "shards", "shards build", "bundle", "bundle import"),
    *("adapters", "adapters list", "adapters add", "adapters remove", "adapters merge"),
]


@pytest.mark.parametrize("command", EXPLAINED)
def test_every_command_explains_itself(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert "usage" in capfd.readouterr().out.lower()


def test_unknown_command(capfd: pytest.CaptureFixture[str]) -> None:
    fails_in_one_line(["restor"], capfd, "restor", "did you mean 'restore'?")


def test_unknown_option(capfd: pytest.CaptureFixture[str], photograph: Path, tmp_path: Path) -> None:
    fails_in_one_line(["restore", str(photograph), "--output", str(tmp_path), "--frobnicate", "1"], capfd, "frobnicate")


def test_missing_option(capfd: pytest.CaptureFixture[str], photograph: Path) -> None:
    fails_in_one_line(["restore", str(photograph)], capfd, "are required: --output;", "abair-pl restore --help")


def test_missing_input_and_option(capfd: pytest.CaptureFixture[str]) -> None:
    fails_in_one_line(["restore"], capfd, "are required: input, --output;")


def test_missing_bundle(capfd: pytest.CaptureFixture[str], photograph: Path, tmp_path: Path) -> None:
    command = ["restore", str(photograph), "--output", str(tmp_path / "out"), "--bundle", str(tmp_path / "none")]
    fails_in_one_line(command, capfd, "no bundle at", "config.json")


def test_missing_bundle_to_start_from(capfd: pytest.CaptureFixture[str], fit: list[str], tmp_path: Path) -> None:
    adapter = [argument.replace("pretrain.yaml", "adapter.yaml") for argument in fit]
    command = [argument for argument in adapter if argument not in ("--model.preset", "tiny")]
    fails_in_one_line([*command, "--model.init_from", str(tmp_path / "none")], capfd, "no bundle at")


def test_text_file_named_png(capfd: pytest.CaptureFixture[str], bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("not an image")
    command = ["restore", str(path), "--output", str(tmp_path / "out"), "--bundle", str(bundle_path)]
    fails_in_one_line(command, capfd, "text.png", "not a readable image")
    assert not list((tmp_path / "out").iterdir())


def test_one_pixel(bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.new("RGB", (1, 1)).save(path)
    assert main(["restore", str(path), "--output", str(tmp_path / "out"), "--bundle", str(bundle_path)]) == 0
    assert Image.open(tmp_path / "out" / "one.png").size == (1, 1)


def test_unknown_degradation_in_yaml(capfd: pytest.CaptureFixture[str], fit: list[str], tmp_path: Path) -> None:
    extra = tmp_path / "extra.yaml"
    extra.write_text("model:\n  init_args:\n    degradations: [rain, fogg]\n")
    position = fit.index("--model.preset")
    command = [*fit[:position], "--config", str(extra), *fit[position:]]
    fails_in_one_line(command, capfd, "fogg", "rain, haze, noise, blur, low_light")


def test_preset_typo(capfd: pytest.CaptureFixture[str], fit: list[str]) -> None:
    fails_in_one_line([*fit, "--model.preset", "tinny"], capfd, "tinny", "did you mean 'tiny'?")


def test_misspelled_option_of_a_phase(capfd: pytest.CaptureFixture[str], fit: list[str]) -> None:
    fails_in_one_line([*fit, "--model.presett", "tiny"], capfd, "presett")


def test_empty_shard_folder(capfd: pytest.CaptureFixture[str], fit: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fails_in_one_line([*fit, "--data.train", str(tmp_path / "empty")], capfd, "no .tar file", "shards build")


def test_fewer_shards_than_workers(capfd: pytest.CaptureFixture[str], fit: list[str]) -> None:
    fails_in_one_line([*fit, "--data.workers", "64"], capfd, "64 workers", "--data.workers")


def test_missing_configuration_file(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fails_in_one_line(["fit", "--config", str(tmp_path / "none.yaml")], capfd, "none.yaml")


def test_unknown_degradation_to_evaluate(
    capfd: pytest.CaptureFixture[str], bundle_path: Path, photograph: Path, tmp_path: Path
) -> None:
    command = ["evaluate", "--bundle", str(bundle_path), "--clean", str(photograph.parent), "--output", str(tmp_path)]
    fails_in_one_line([*command, "--degrade", "nois:sigma=25"], capfd, "nois", "did you mean 'noise'?")


def test_missing_input(capfd: pytest.CaptureFixture[str], bundle_path: Path, tmp_path: Path) -> None:
    command = ["restore", str(tmp_path / "none.png"), "--output", str(tmp_path), "--bundle", str(bundle_path)]
    fails_in_one_line(command, capfd, "no image at")


def test_configurations_add_up_as_in_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.yaml").write_text("trainer: {max_steps: [}")
    (tmp_path / "two.yaml").write_text("trainer: {max_steps: 3}")
    options = ["--config", str(tmp_path / "one.yaml"), "--config", str(tmp_path / "two.yaml")]
    assert main(["doctor", *options]) == 2
    assert "Problems parsing config" in capsys.readouterr().err, "the first one is read, too"
