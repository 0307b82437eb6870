"""What docs/tracking.md says is what runs log."""

import csv
import inspect
import re
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger

from abair_pl.cli import main
from abair_pl.modules.callbacks import artifacts, panels, tables, throughput
from abair_pl.modules.tracking import TrackingConfig

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tracking.md").read_text()
NAMES = ["rain", "haze", "noise", "blur", "low_light"]
ON_A_GPU = {"gpu/memory_gib"}


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose heading begins so."""
    table = PAGE.partition(f"\n| {first} |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


KEYS = {row[0].strip("`"): row[1].split() for row in rows("key | in")}


@pytest.fixture
def small(sample_shards: Path, tmp_path: Path) -> list[str]:
    """What makes a shipped configuration run in seconds."""
    return [
        *("--data.train", str(sample_shards / "train"), "--data.val", str(sample_shards / "val")),
        *("--data.workers", "0", "--data.batch_size", "2", "--data.patch_px", "32", "--data.val_patch_px", "32"),
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path)),
        *("--trainer.logger.save_dir", str(tmp_path), "--trainer.log_every_n_steps", "1"),
        *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    ]


@pytest.mark.parametrize(
    ("phase", "command", "name", "options"),
    [
        ("I", "fit", "pretrain", ["--model.preset", "tiny"]),
        ("II", "fit", "adapter", []),
        ("III", "fit", "estimator", ["--model.restoration_weight", "0.1"]),
        ("test", "test", "estimator", []),
    ],
)
def test_table_gives_the_keys(
    phase: str, command: str, name: str, options: list[str], small: list[str], bundle_path: Path, tmp_path: Path
) -> None:
    start = [] if phase == "I" else ["--model.init_from", str(bundle_path)]
    steps = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    config = ["--config", str(ROOT / "configs" / f"{name}.yaml"), "--model.save_to", str(tmp_path / "bundle")]
    assert main([command, *config, *start, *options, *small, *steps]) == 0
    with (tmp_path / "logs" / "version_0" / "metrics.csv").open() as stream:
        found = set(next(csv.reader(stream)))
    pattern = re.compile(rf"/({'|'.join(NAMES)})$")
    logged = {pattern.sub("/<degradation>", key) for key in found}
    assert logged == {key for key, phases in KEYS.items() if phase in phases} - ON_A_GPU
    assert KEYS.keys() >= ON_A_GPU


def test_each_key_is_there_once() -> None:
    assert len(KEYS) == len(rows("key | in"))


def test_versions_are_told_apart_by_so_many_digits() -> None:
    assert f"the first {artifacts._SHORT} digits of its weights' sha256" in PAGE


def test_shares_are_all_there() -> None:
    assert {key for key in KEYS if key.startswith("time/")} == {f"time/{part}" for part in throughput.PARTS}


def test_pictures_and_tables() -> None:
    texts = {row[0].strip("`"): row[2] for row in rows("key | where")}
    assert set(texts) == {panels.PANEL, tables.MEASURES, tables.IMAGES}
    assert f"at most {panels.MOST_ROWS}, {panels.MOST_PX} x {panels.MOST_PX} pixels" in texts[panels.PANEL]
    assert f"the first {tables.MOST_IMAGES} images of each degradation" in texts[tables.IMAGES]


def test_panels_of_the_dashboard_show_keys_that_there_are() -> None:
    media = {panels.PANEL, tables.MEASURES, tables.IMAGES}
    shown = [key for row in rows("panel") for key in re.findall(r"`([a-z]+/[^`]+)`", row[2])]
    assert len(shown) >= 15
    for key in shown:
        assert any(re.fullmatch(key, known) for known in {*KEYS, *media}), key


def test_options_are_all_there() -> None:
    options = {row[0].strip("`").removeprefix("--tracking.") for row in rows("option")}
    assert options == set(inspect.signature(TrackingConfig).parameters)
    assert set(re.findall(r"--tracking\.(\w+)", PAGE)) == options


def test_measures_are_logged_as_often_as_it_says() -> None:
    assert "every `trainer.log_every_n_steps` steps (50)" in PAGE
    assert L.Trainer(logger=False, enable_checkpointing=False).log_every_n_steps == 50  # type: ignore[attr-defined]
    configs = [(ROOT / "configs" / f"{name}.yaml").read_text() for name in ("pretrain", "adapter", "estimator")]
    assert not any("log_every_n_steps" in text for text in configs), "then Lightning's own number counts, 50"
    assert all(CSVLogger.__name__ in text for text in configs)
