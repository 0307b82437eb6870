import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from abair_pl.doctor import dry_run as dry_run_module
from abair_pl.doctor.dry_run import Measures, dry_run
from abair_pl.doctor.plan import Plan
from abair_pl.errors import AbairError
from abair_pl.modules.callbacks.throughput import PARTS


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_measures_are_those_of_the_run(measures: Measures, plan: Plan) -> None:
    assert (measures.steps, measures.step_images) == (2, 2.0)
    assert (measures.validation_samples, measures.validation_batch_size) == (8, 1)
    assert tuple(measures.shares) == PARTS
    assert sum(measures.shares.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in measures.shares.values())
    assert measures.step_seconds > 0
    assert measures.validation_batch_seconds > 0
    assert 1_500_000 < measures.trained_parameters == measures.parameters < 2_500_000
    assert 4 * 4 * measures.parameters < measures.checkpoint_bytes < 4.2 * 4 * measures.parameters
    assert 2**28 < measures.peak_bytes < 2**33
    assert measures.gpu_bytes is None


def test_nothing_is_left(
    plan: Plan, change: Callable[..., Plan], temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even of loggers, and of callbacks that are told where to write."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    folder = str(tmp_path / "elsewhere")
    callbacks = [
        {"class_path": "abair_pl.modules.callbacks.RollingCheckpoint", "init_args": {"folder": folder, "keep": 1}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": folder}},
    ]
    root = str(tmp_path / "root")
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": root}}
    settings = {
        **{"trainer.callbacks": callbacks, "trainer.logger": logger, "trainer.default_root_dir": root},
        **{"model.save_to": f"{root}/bundle", "tracking.wandb": "offline", "tracking.tensorboard": True},
        **{"tracking.project": "test", "data.workers": 1},
    }
    found = dry_run(change(plan, settings), 1)
    assert found.steps == 1
    assert found.worker_bytes > 2**20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "temporary"]
    assert not list(here.iterdir())
    assert not list(temporary.iterdir())


def test_accumulated_batches_are_one_step(plan: Plan, change: Callable[..., Plan]) -> None:
    found = dry_run(change(plan, {"data.batch_size": 6, "data.device_batch_size": 1}, devices=2), 2)
    assert (found.steps, found.step_images) == (2, 3.0), "on one of two devices"


def test_settings_are_those_of_one_device_alone(plan: Plan, change: Callable[..., Plan], tmp_path: Path) -> None:
    wide = change(plan, {"data.batch_size": 64, "trainer.devices": 4}, accelerator="cuda", devices=4, nodes=2)
    settings = dry_run_module._settings(wide, 2, tmp_path, tmp_path / "measures.json")
    trainer = settings["trainer"]
    assert (trainer["accelerator"], trainer["devices"], trainer["num_nodes"]) == ("gpu", 1, 1)
    assert trainer["fast_dev_run"] == 3
    assert settings["data"]["init_args"]["batch_size"] == 8
    assert wide.trainer["devices"] == 4, "the plan stays as it is"
    assert yaml.safe_load(yaml.safe_dump(settings)) == settings


def test_process_knows_nothing_of_others_and_of_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HF_HOME", "/models")
    environment = dry_run_module._environment()
    assert not {"SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "MASTER_PORT"} & environment.keys()
    assert (environment["WANDB_MODE"], environment["HF_HOME"]) == ("disabled", "/models")


def test_failure_is_one_line(plan: Plan, change: Callable[..., Plan], temporary: Path) -> None:
    with pytest.raises(AbairError, match=r"data\.patch_px is 0; expected at least 1") as error:
        dry_run(change(plan, {"data.patch_px": 0}), 1)
    assert "\n" not in str(error.value)
    assert "Traceback" not in str(error.value)
    assert not list(temporary.iterdir())


def test_a_run_that_hangs_is_ended(plan: Plan, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run_module, "_LIMIT_SECONDS", 0.5)
    with pytest.raises(AbairError, match="did not end"):
        dry_run(plan, 1)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("step 1\nabair-pl: error: no shards; make some\nbye\n", 2, "no shards; make some"),
        ("Traceback\n  File x\nRuntimeError: CUDA is out of memory\n", 1, "the dry run failed: RuntimeError: CUDA is"),
        ("", -9, "the dry run was ended by a signal (Killed), as when memory runs out"),
        ("", 3, "the dry run failed: exit status 3"),
    ],
)
def test_reasons(text: str, status: int, reason: str) -> None:
    assert dry_run_module._reason(text, status).startswith(reason)
