"""The same batch, however it is split over processes and accumulated batches: samples, weights, validations, resume."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from abair_pl.bundle import Bundle

CONFIGS = Path(__file__).parents[1] / "configs"
RECORDER = '''
import json
from pathlib import Path

from lightning.pytorch.callbacks import Callback
from torch.nn import Dropout


class Recorder(Callback):
    """Writes which samples each optimizer step had on this rank, and after how many steps it was validated."""

    def __init__(self, folder: str) -> None:
        self.folder, self.keys, self.steps, self.validated = Path(folder), [], {}, []

    def on_fit_start(self, trainer, pl_module):
        for part in pl_module.modules():
            if isinstance(part, Dropout):
                part.p = 0.0  # what is dropped is not a function of the photograph

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.keys += batch.keys
        if not trainer.fit_loop._should_accumulate():
            self.steps[trainer.global_step], self.keys = sorted(self.keys), []

    def on_validation_end(self, trainer, pl_module):
        self.validated.append(trainer.global_step)

    def on_fit_end(self, trainer, pl_module):
        facts = {"steps": self.steps, "validated": self.validated, "total": trainer.estimated_stepping_batches}
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(facts))
'''
SPLITS = {"whole": [], "accumulated": ["--data.device_batch_size", "4"], "two": []}


def fit(phase: str, split: str, folder: Path, source: Path, shards: Path, *more: str) -> None:
    """Train with batches of 8 out of 8 photographs, so that any way to split has to take all of them in each step."""
    (folder / "recorder.py").write_text(RECORDER)
    options = [
        *("fit", "--config", str(CONFIGS / f"{phase}.yaml"), "--model.init_from", str(source)),
        *(("--config", str(CONFIGS / "trainer" / "ddp.yaml")) if split == "two" else ()),
        *("--data.train", str(shards / "train"), "--data.val", str(shards / "val"), "--data.batch_size", "8"),
        *("--data.workers", "0", "--data.patch_px", "32", "--data.val_patch_px", "32"),
        *("--data.synthesis.composites", "[]", "--data.synthesis.composite_probability", "0"),
        *("--model.save_to", str(folder / split / "bundle"), "--model.optimization.ema_decay", "0"),
        *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.logger", "false"),
        *("--trainer.devices", "2" if split == "two" else "1", "--trainer.num_sanity_val_steps", "0"),
        *("--trainer.max_steps", "4", "--trainer.val_check_interval", "2", "--trainer.enable_model_summary", "false"),
        *("--trainer.enable_progress_bar", "false", "--trainer.default_root_dir", str(folder / split / "run")),
        *("--trainer.callbacks+=recorder.Recorder", f"--trainer.callbacks.folder={folder / split / 'seen'}"),
        *(*SPLITS[split], *more),
    ]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    (folder / split).mkdir(exist_ok=True)
    command = [sys.executable, "-m", "abair_pl.cli", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def seen(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((folder / split / "seen").glob("*.json"))]


def weights(bundle: Path, file: str) -> torch.Tensor:
    return torch.cat([value.flatten().double() for _, value in sorted(load_file(bundle / file).items())])


@pytest.mark.parametrize(
    ("phase", "file", "tolerance"),
    [
        # The estimator's loss is a mean over photographs; the balanced loss looks at the batches before, and at half
        # of the batch when it accumulates.
        ("estimator", "estimator.safetensors", {"accumulated": 1e-3, "two": 1e-3}),
        pytest.param(
            "adapter",
            "adapters/rain/adapter_model.safetensors",
            {"accumulated": 0.05, "two": 1e-3},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_split_takes_the_same_steps(
    phase: str, file: str, tolerance: dict[str, float], bundle_path: Path, sample_shards: Path, tmp_path: Path
) -> None:
    for split in SPLITS:
        adapter = ["--model.adapter.rank", "2"] if phase == "adapter" else []  # as the bundle has it, to start from
        fit(phase, split, tmp_path, bundle_path, sample_shards, *adapter)
    expected, *_ = seen(tmp_path, "whole")
    assert list(expected["steps"]) == ["1", "2", "3", "4"]
    assert {len(set(keys)) for keys in expected["steps"].values()} == {8}
    for split in SPLITS:
        ranks = seen(tmp_path, split)
        assert len(ranks) == (2 if split == "two" else 1)
        for step, keys in expected["steps"].items():
            assert sorted(key for rank in ranks for key in rank["steps"][step]) == keys
        assert all(rank["validated"] == [2, 4] and rank["total"] == 4 for rank in ranks)
    start, end = weights(bundle_path, file), weights(tmp_path / "whole" / "bundle", file)
    for split, largest in tolerance.items():
        apart = (weights(tmp_path / split / "bundle", file) - end).norm() / (end - start).norm()
        print(phase, split, float(apart))
        assert apart < largest, split


@pytest.mark.parametrize(
    ("first", "then"), [("whole", "accumulated"), pytest.param("accumulated", "whole", marks=pytest.mark.slow)]
)
def test_a_run_goes_on_with_another_split(
    first: str, then: str, bundle_path: Path, sample_shards: Path, tmp_path: Path
) -> None:
    """After an odd number of steps, so that steps and validations that counted batches would come at other times."""
    for split, last in ((first, "3"), (then, "6")):
        root = ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.max_steps", last, "--resume", "auto"]
        fit("adapter", split, tmp_path, bundle_path, sample_shards, *root)
    ((before,), (after,)) = seen(tmp_path, first), seen(tmp_path, then)
    assert (list(before["steps"]), before["validated"]) == (["1", "2", "3"], [2])
    assert (list(after["steps"]), after["validated"]) == (["4", "5", "6"], [4, 6])
    assert {len(set(keys)) for keys in after["steps"].values()} == {8}
    facts = Bundle.open(tmp_path / then / "bundle").config.provenance["adapter/rain"]
    assert (facts["steps"], facts["samples_seen"]) == (6, 48)
