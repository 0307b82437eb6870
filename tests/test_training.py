"""The three phases from the shipped configurations, through the command line as a user types it."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wandb
import yaml
from PIL import Image
from safetensors.torch import load_file
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from abair_pl.bundle import Bundle
from abair_pl.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
PHASES = ["pretrain", "adapter", "estimator"]
DDP = CONFIGS / "trainer" / "ddp.yaml"  # has a test of its own, with two processes
TWO_STEPS = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
# What other commands read, or what has tests of its own (test_cluster_configs, test_cluster_nodes).
NO_FRAGMENTS = {"ablation", "benchmark", "sweep", "ddp_multinode", "fsdp"}
FRAGMENTS = [
    None,
    *sorted(
        path
        for path in CONFIGS.rglob("*.yaml")
        if path.stem not in PHASES and path != DDP and not {*path.relative_to(CONFIGS).parts, path.stem} & NO_FRAGMENTS
    ),
]


@pytest.fixture(autouse=True)
def _own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep W&B's caches here, the user's settings out, and those that Lightning makes from staying."""
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-own"))
    for name in ("API_KEY", "MODE", "PROJECT", "RUN_ID"):
        monkeypatch.setenv(f"WANDB_{name}", "")
        monkeypatch.delenv(f"WANDB_{name}")
    wandb.teardown()  # which reads them once


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
    options = phase_options("adapter", bundle_path, tmp_path / "bundle")
    logger = ["--trainer.logger", "WandbLogger", "--trainer.logger.offline", "true"]
    logger += ["--trainer.logger.save_dir", str(tmp_path), "--trainer.logger.project", "test"]
    assert main(["fit", *options, *small, *TWO_STEPS, *logger]) == 0
    runs = list(tmp_path.glob("wandb/offline-run-*"))
    assert len(runs) == 1
    assert list(runs[0].glob("*.wandb"))
    assert list(runs[0].glob("files/media/images/val/panel*.png"))


LOGGERS = {
    "log_model offline": (
        ["--trainer.logger", "WandbLogger", "--trainer.logger.offline", "true", "--trainer.logger.log_model", "all"],
        "has log_model and is offline, where checkpoints cannot be sent; expected one of the two: leave out log_model",
    ),
    "two of W&B": (
        ["--trainer.logger", "WandbLogger", "--tracking.wandb", "offline"],
        "both trainer.logger and tracking.wandb are W&B; expected one of them: leave out trainer.logger",
    ),
    "a name without W&B": (
        ["--tracking.tensorboard", "true", "--tracking.name", "mine"],
        "--tracking.name is W&B's; expected --tracking.wandb online or offline with it",
    ),
    "no account": (["--tracking.wandb", "online"], "W&B: No API key configured"),
}


@pytest.mark.parametrize(("options", "message"), LOGGERS.values(), ids=LOGGERS)
def test_loggers_that_cannot_be_made_are_one_line(
    options: list[str],
    message: str,
    small: list[str],
    bundle_path: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    phase = phase_options("adapter", bundle_path, tmp_path / "bundle")
    assert main(["fit", *phase, *small, *TWO_STEPS, *options]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "abair-pl: error:" in line]
    assert message in line


@pytest.mark.parametrize("options", [["--tracking.tensorboard", "true"], ["--trainer.logger", "TensorBoardLogger"]])
def test_tensorboard_says_what_to_install(
    options: list[str],
    small: list[str],
    bundle_path: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    phase = phase_options("adapter", bundle_path, tmp_path / "bundle")
    assert main(["fit", *phase, *small, *TWO_STEPS, *options]) == 2
    error = capfd.readouterr().err
    assert (
        "the package tensorboard is not installed; expected for its logger: pip install 'abair-pl[tensorboard]'"
        in error
    )


def test_tracking_goes_without_a_log_of_its_own(
    small: list[str], bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a trainer's default logger becomes the CSV log, whatever is installed; TensorBoard asks for no W&B run."""
    monkeypatch.delattr("abair_pl.training.identify")
    phase = phase_options("adapter", bundle_path, tmp_path / "bundle")
    board = ["--tracking.tensorboard", "true"]
    assert main(["fit", *phase, *small, *TWO_STEPS, *board, "--trainer.logger", "false"]) == 0
    assert list(tmp_path.glob("run/tensorboard/version_0/events*"))
    assert not list(tmp_path.rglob("metrics.csv"))
    assert main(["fit", *phase, *small, *TWO_STEPS, *board, "--trainer.logger", "true"]) == 0
    assert list(tmp_path.glob("run/logs/version_0/metrics.csv"))


def test_a_run_that_fails_is_marked_as_failed(
    small: list[str],
    bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended: list[int] = []
    finish = wandb.Run.finish

    def note(run: wandb.Run, exit_code: int | None = None, quiet: bool | None = None) -> None:
        ended.append(exit_code or 0)
        finish(run, exit_code)

    monkeypatch.setattr(wandb.Run, "finish", note)
    phase = phase_options("adapter", bundle_path, tmp_path / "bundle")
    options = ["--tracking.wandb", "offline", "--data.val", str(tmp_path / "nowhere")]
    assert main(["fit", *phase, *small, *TWO_STEPS, *options]) == 2
    assert ended == [1]
    assert wandb.run is None
    assert "wandb sync" in capfd.readouterr().out


def test_a_tracker_that_cannot_finish_does_not_hide_the_error(
    small: list[str],
    bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    finish = wandb.Run.finish

    def refuse(run: wandb.Run, exit_code: int | None = None) -> None:
        finish(run, exit_code)
        message = "no space"
        raise RuntimeError(message)

    monkeypatch.setattr(wandb.Run, "finish", refuse)
    phase = phase_options("adapter", bundle_path, tmp_path / "bundle")
    options = ["--tracking.wandb", "offline", "--data.val", str(tmp_path / "nowhere")]
    with pytest.warns(UserWarning, match=r"W&B failed to finish the run \(no space\)"):
        assert main(["fit", *phase, *small, *TWO_STEPS, *options]) == 2
    assert "no shard at" in capfd.readouterr().err


def test_the_sweep_varies_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that an agent would run, with a program in place of abair-pl that prints its arguments."""
    sweep = yaml.safe_load((CONFIGS / "wandb" / "sweep.yaml").read_text())
    chosen = {name: choice.get("values", [choice.get("max")])[-1] for name, choice in sweep["parameters"].items()}
    given = create_sweep_command_args({"args": {name: {"value": value} for name, value in chosen.items()}})["args"]
    command = [word for part in sweep["command"] for word in (given if part == "${args}" else [part])]
    (tmp_path / "abair-pl").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "abair-pl").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "WANDB_RUN_ID": "1a2b"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=CONFIGS.parent)
    words = [str(CONFIGS.parent / word) if word.startswith("configs/") else word for word in done.stdout.splitlines()]
    assert main([*words, "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert len(chosen) >= 5
    for name, value in chosen.items():
        section, *keys = name.split(".")
        place = config[section]["init_args"]
        for key in keys:
            place = place[key]
        assert place == value, name
    assert config["model"]["init_args"]["save_to"] == "runs/sweep/1a2b/bundle"
    assert config["trainer"]["default_root_dir"] == "runs/sweep/1a2b"
    assert int(config["trainer"]["devices"]) == 1, "an agent has one GPU"
    assert config["tracking"]["wandb"] == "online"
    assert sweep["metric"] == {"name": "val/psnr", "goal": "maximize"}


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
    """DDP on gloo, with no parameter left unused, ends with one finite bundle and counts both ranks' samples.

    W&B has a single run of them.
    """
    options = [*phase_options(phase, bundle_path, tmp_path / "bundle"), "--config", str(DDP), "--trainer.devices", "2"]
    steps = [*TWO_STEPS, "--trainer.logger.save_dir", str(tmp_path), "--tracking.wandb", "offline"]
    command = [sys.executable, "-m", "abair_pl.cli", "fit", *options, *small, *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    bundle = Bundle.open(tmp_path / "bundle")
    facts = bundle.config.provenance["adapter/rain" if phase == "adapter" else phase]
    assert (facts["devices"], facts["steps"], facts["samples_seen"]) == (2, 2, 4)
    for file in bundle.path.rglob("*.safetensors"):
        assert all(bool(torch.isfinite(value).all()) for value in load_file(file).values())
    (run,) = tmp_path.glob("run/wandb/offline-run-*")
    assert len(list(run.glob("files/media/images/val/panel*.png"))) == 1
    assert run.name.endswith(facts["wandb_run"])
    assert done.stdout.count("wandb sync") == 1


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
