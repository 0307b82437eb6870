"""The three phases from the shipped configurations, through the command line as a user types it."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from abair_pl.bundle import Bundle
from abair_pl.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
PHASES = ["pretrain", "adapter", "estimator"]
DDP = CONFIGS / "trainer" / "ddp.yaml"  # has a test of its own, with two processes
TWO_STEPS = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
FRAGMENTS = [None, *sorted(path for path in CONFIGS.rglob("*.yaml") if path.stem not in PHASES and path != DDP)]


@pytest.fixture
def small(sample_shards: Path, tmp_path: Path) -> list[str]:
    """What makes a shipped configuration run in seconds."""
    return [
        *("--data.train", str(sample_shards / "train"), "--data.val", str(sample_shards / "val")),
        *("--data.workers", "0", "--data.batch_size", "2", "--data.patch_px", "32", "--data.val_patch_px", "32"),
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path / "run")),
        *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    ]


def phase_options(phase: str, bundle: Path, save_to: Path) -> list[str]:
    options = ["--config", str(CONFIGS / f"{phase}.yaml"), "--model.save_to", str(save_to)]
    return [*options, *(["--model.preset", "tiny"] if phase == "pretrain" else ["--model.init_from", str(bundle)])]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_every_shipped_yaml_runs(
    phase: str, fragment: Path | None, small: list[str], bundle_path: Path, tmp_path: Path
) -> None:
    extra = [] if fragment is None else ["--config", str(fragment)]
    options = phase_options(phase, bundle_path, tmp_path / "bundle")
    assert main(["fit", *options[:2], *extra, *options[2:], *small, "--trainer.fast_dev_run", "true"]) == 0
    assert not (tmp_path / "bundle").exists(), "a trial run must not write a bundle"


def test_three_phases_hand_over_through_bundles(small: list[str], sample_shards: Path, tmp_path: Path) -> None:
    bundles = {phase: tmp_path / phase / "bundle" for phase in PHASES}
    steps = [*TWO_STEPS, "--trainer.logger.save_dir", str(tmp_path)]
    options = {
        "pretrain": phase_options("pretrain", tmp_path, bundles["pretrain"]),
        "adapter": phase_options("adapter", bundles["pretrain"], bundles["adapter"]),
        "estimator": phase_options("estimator", bundles["adapter"], bundles["estimator"]),
    }
    assert main(["fit", *options["pretrain"], *small, *steps, "--model.degradations", "[rain, noise]"]) == 0
    for name in ("rain", "noise"):
        assert main(["fit", *options["adapter"], *small, *steps, "--model.degradation", name]) == 0
    assert main(["fit", *options["estimator"], *small, *steps]) == 0

    final = Bundle.open(bundles["estimator"])
    assert final.config.degradations == ["rain", "noise"]
    assert list(final.config.adapters) == ["rain", "noise"] == list(final.config.estimated)
    assert final.config.provenance["pretrain"]["samples_seen"] == 4
    assert final.config.backbone_sha256 == Bundle.open(bundles["pretrain"]).config.backbone_sha256

    photograph = next((sample_shards / "photographs").glob("*.png"))
    restored = ["restore", str(photograph), "--bundle", str(final.path), "--output", str(tmp_path / "restored")]
    assert main(restored) == 0
    assert (tmp_path / "restored" / photograph.name).is_file()


def test_a_short_run_logs_what_is_promised(small: list[str], bundle_path: Path, tmp_path: Path) -> None:
    options = phase_options("estimator", bundle_path, tmp_path / "bundle")
    logging = ["--trainer.log_every_n_steps", "1", "--trainer.logger.save_dir", str(tmp_path)]
    assert main(["fit", *options, *small, *TWO_STEPS, *logging]) == 0
    log = next(tmp_path.glob("logs/version_0/metrics.csv"))
    with log.open() as stream:
        keys = {key for row in csv.DictReader(stream) for key, value in row.items() if value}
    names = ["rain", "haze", "noise", "blur", "low_light"]
    promised = {f"val/{kind}/{name}" for kind in ("psnr", "ssim") for name in names}
    promised |= {"train/loss", "train/learning_rate", "train/images_per_second", "train/gradient_norm", "val/accuracy"}
    assert promised <= keys
    assert list(log.parent.glob("panels/*.png"))
    assert yaml.safe_load((log.parent / "config.yaml").read_text())["model"]["class_path"].endswith("EstimatorModule")


def test_wandb_works_offline_without_an_account(
    small: list[str], bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    options = phase_options("adapter", bundle_path, tmp_path / "bundle")
    logger = ["--trainer.logger", "WandbLogger", "--trainer.logger.offline", "true"]
    logger += ["--trainer.logger.save_dir", str(tmp_path), "--trainer.logger.project", "test"]
    assert main(["fit", *options, *small, *TWO_STEPS, *logger]) == 0
    runs = list(tmp_path.glob("wandb/offline-run-*"))
    assert len(runs) == 1
    assert list(runs[0].glob("*.wandb"))
    assert list(runs[0].glob("files/media/images/val/panel*.png"))


def test_paired_shards_train_an_adapter(
    small: list[str], paired_shards: Path, bundle_path: Path, tmp_path: Path
) -> None:
    options = phase_options("adapter", bundle_path, tmp_path / "bundle")
    paths = ["--data.train", str(paired_shards), "--data.val", str(paired_shards)]
    named = ["--model.degradation", "dust", "--trainer.logger", "false"]
    assert main(["fit", *options, *small, *paths, *TWO_STEPS, *named]) == 0
    assert list(Bundle.open(tmp_path / "bundle").config.adapters)[-1] == "dust"


@pytest.mark.parametrize("phase", PHASES)
def test_two_processes_train_each_phase(phase: str, small: list[str], bundle_path: Path, tmp_path: Path) -> None:
    """DDP on gloo, with no parameter left unused, ends with one finite bundle and counts both ranks' samples."""
    options = [*phase_options(phase, bundle_path, tmp_path / "bundle"), "--config", str(DDP), "--trainer.devices", "2"]
    steps = [*TWO_STEPS, "--trainer.logger.save_dir", str(tmp_path)]
    command = [sys.executable, "-m", "abair_pl.cli", "fit", *options, *small, *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    bundle = Bundle.open(tmp_path / "bundle")
    facts = bundle.config.provenance["adapter/rain" if phase == "adapter" else phase]
    assert (facts["devices"], facts["steps"], facts["samples_seen"]) == (2, 2, 4)
    for file in bundle.path.rglob("*.safetensors"):
        assert all(bool(torch.isfinite(value).all()) for value in load_file(file).values())


@pytest.mark.parametrize("command", ["validate", "test"])
def test_a_bundle_is_measured_as_it_is(
    command: str, small: list[str], bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a checkpoint, the estimator and the adapter are those of the bundle: the numbers of both runs agree."""
    found = []
    for _ in range(2):
        options = phase_options("estimator", bundle_path, tmp_path / "bundle")
        assert main([command, *options, *small, "--trainer.logger", "false"]) == 0
        found.append([line for line in capfd.readouterr().out.splitlines() if "psnr" in line or "accuracy" in line])
    assert found[0] == found[1] != []


def test_prediction_restores_each_photograph_whole(
    small: list[str], sample_shards: Path, bundle_path: Path, tmp_path: Path
) -> None:
    options = phase_options("estimator", bundle_path, tmp_path / "bundle")
    assert main(["predict", *options, *small, "--trainer.logger", "false"]) == 0
    for photograph in (sample_shards / "photographs").glob("*.png"):
        restored = tmp_path / "run" / "predictions" / photograph.name
        assert Image.open(restored).size == Image.open(photograph).size


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_weights_are_not_measured(
    command: str, small: list[str], backbone_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = phase_options("adapter", backbone_path, tmp_path / "bundle")
    assert main([command, *options, *small, "--trainer.logger", "false"]) == 2
    assert "the weights of this phase are untrained" in capfd.readouterr().err


def test_a_target_with_another_backbone_is_refused_before_training(
    small: list[str], bundle_path: Path, backbone_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    pretrain = phase_options("pretrain", tmp_path, other)
    assert main(["fit", *pretrain, *small, *TWO_STEPS, "--trainer.logger", "false"]) == 0
    capfd.readouterr()
    options = phase_options("adapter", bundle_path, other)
    assert main(["fit", *options, *small, *TWO_STEPS, "--trainer.logger", "false"]) == 2
    shown = capfd.readouterr()
    assert "has other backbone" in shown.err
    assert "max_steps" not in shown.err
