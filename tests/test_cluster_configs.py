"""The fragments of ``configs/trainer/``: what they set, and that they are no copies of each other."""

import os
import subprocess
import sys
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from abair_pl.bundle import Bundle
from abair_pl.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
FRAGMENTS = sorted((CONFIGS / "trainer").glob("*.yaml"))
PHASES = ["pretrain", "adapter", "estimator"]
FSDP = CONFIGS / "trainer" / "fsdp.yaml"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.stem)
def test_each_goes_with_every_phase(fragment: Path, phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    phase_config = CONFIGS / f"{phase}.yaml"
    assert main(["fit", "--config", str(phase_config), "--config", str(fragment), "--print_config"]) == 0
    merged = yaml.safe_load(capsys.readouterr().out)
    settings = yaml.safe_load(fragment.read_text())["trainer"]
    for name in settings.keys() - {"strategy"}:
        assert merged["trainer"][name] == settings[name]
    assert merged["trainer"]["precision"] == "bf16-mixed"


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_strategies_wait_ten_minutes(name: str) -> None:
    given = yaml.safe_load((CONFIGS / "trainer" / f"{name}.yaml").read_text())["trainer"]["strategy"]
    parser = LightningArgumentParser()
    parser.add_subclass_arguments(Strategy, "strategy")
    made = parser.instantiate_classes(parser.parse_object({"strategy": given})).strategy
    assert isinstance(made, DDPStrategy | ModelParallelStrategy)
    assert made._timeout == timedelta(minutes=10)
    if isinstance(made, DDPStrategy):
        assert made._ddp_kwargs["find_unused_parameters"] is False
        assert made._ddp_kwargs["gradient_as_bucket_view"] is True


def test_none_is_a_near_copy_of_another() -> None:
    def lines(path: Path) -> set[str]:
        kept = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
        return {line for line in kept if line and not line.endswith(":")}

    for one, other in combinations(FRAGMENTS, 2):
        both = lines(one) & lines(other)
        assert len(both) <= len(lines(one) | lines(other)) / 2, f"{one.stem} and {other.stem} share {both}"


def small(shards: Path, folder: Path) -> list[str]:
    return [
        *("--data.train", str(shards / "train"), "--data.val", str(shards / "val"), "--data.workers", "0"),
        *("--data.batch_size", "4", "--data.patch_px", "32", "--data.val_patch_px", "32"),
        *("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.default_root_dir", str(folder / "run")),
        *("--trainer.val_check_interval", "2", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"),
        *("--trainer.enable_model_summary", "false", "--model.save_to", str(folder / "bundle")),
    ]


@pytest.mark.parametrize(
    ("option", "value"), [("--model.optimization.ema_decay", "0.9"), ("--model.guard.compare_ranks_every", "5")]
)
def test_shards_of_weights_refuse_what_needs_them_whole(
    option: str, value: str, bundle_path: Path, sample_shards: Path, tmp_path: Path
) -> None:
    options = [*small(sample_shards, tmp_path), "--trainer.max_steps", "2", option, value]
    done = two_processes("adapter", bundle_path, *options)
    assert done.returncode != 0
    assert "the weights are in shards, with" in done.stderr


def two_processes(phase: str, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    start = ["--model.init_from", str(source)] if phase != "pretrain" else ["--model.preset", "tiny"]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "abair_pl.cli", "fit", "--config", str(CONFIGS / f"{phase}.yaml"), "--config", str(FSDP)),
        *(*start, *options),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_shards_of_weights_train_validate_and_go_on(
    phase: str, bundle_path: Path, sample_shards: Path, tmp_path: Path
) -> None:
    for steps in (2, 4):
        options = [*small(sample_shards, tmp_path), "--trainer.max_steps", str(steps), "--resume", "auto"]
        done = two_processes(phase, bundle_path, *options)
        assert done.returncode == 0, done.stderr[-3000:]
    facts = Bundle.open(tmp_path / "bundle").config.provenance["adapter/rain" if phase == "adapter" else phase]
    assert (facts["steps"], facts["samples_seen"], facts["devices"]) == (4, 16, 2)
