"""The job scripts: their syntax, and what they do with a SLURM that runs jobs here and now (``fake_slurm``)."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from abair_pl.bundle import Bundle
from abair_pl.cli import main
from abair_pl.doctor.slurm import read_directives

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "scripts" / "slurm").iterdir())
JOBS = [script for script in SCRIPTS if script.suffix == ".sbatch"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_syntax(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)


@pytest.mark.parametrize("script", JOBS, ids=lambda script: script.name)
def test_jobs_are_told_of_their_end_and_go_on(script: Path) -> None:
    options = read_directives(script)
    assert options["signal"] == "USR1@120", "to the steps, and not to the shell (B:)"
    assert options["requeue"] == "yes"
    assert options["open-mode"] == "append"
    assert options["nodes"]
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert not re.search(r"/(home|work|scratch|data)\b", script.read_text().replace("/shared/gld", ""))


def test_each_job_is_one_phase() -> None:
    phases = {script.stem: re.findall(r"--config configs/(\w+)\.yaml", script.read_text()) for script in JOBS}
    assert phases == {"pretrain": ["pretrain"], "adapters": ["adapter"], "estimator": ["estimator"]}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a machine with a SLURM of its own, with what jobs need of the project in it."""
    for name in ("configs", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "slurm").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{ROOT / 'tests' / 'fake_slurm'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "slurm"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return tmp_path


def submit(*words: str, shards: Path, steps: int = 4) -> int:
    small = [
        *("--data.train", str(shards / "train"), "--data.val", str(shards / "val"), "--data.workers", "0"),
        *("--data.batch_size", "2", "--data.patch_px", "32", "--data.val_patch_px", "32"),
        *("--trainer.accelerator", "cpu", "--trainer.max_steps", str(steps), "--trainer.val_check_interval", "2"),
        *("--trainer.enable_model_summary", "false", "--trainer.callbacks.every_n_steps", "1"),
    ]
    command = ["sbatch", "--parsable", "--gpus-per-node=0", *words, *small]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=580)
    logs = "\n".join(log.read_text()[-3000:] for log in Path("slurm").glob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    job = int(done.stdout)
    assert Path("slurm", f"job-{job}").read_text() == "0", logs
    return job


@pytest.mark.slow
def test_three_jobs_make_a_bundle(cluster: Path, sample_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phase I on two nodes, which SLURM ends before its last step; two adapters in an array; then the estimator."""
    tiny = ["--model.preset", "tiny", "--model.degradations", "[rain, noise]"]
    monkeypatch.setenv("FAKE_SLURM_SIGNAL_AFTER", "runs/pretrain/checkpoints/pretrain/**/*.ckpt")
    job = ["--nodes=2", "--ntasks-per-node=1", "scripts/slurm/pretrain.sbatch", *tiny]
    submit(*job, shards=sample_shards, steps=40)
    monkeypatch.delenv("FAKE_SLURM_SIGNAL_AFTER")
    (log,) = cluster.glob("slurm/abair-pretrain-*.log")
    text = log.read_text()
    assert re.search(r"stopped by SIGUSR1 at step \d+; go on with --resume auto", text)
    assert "is back in the queue" in text
    facts = Bundle.open(cluster / "runs" / "pretrain" / "bundle").config.provenance["pretrain"]
    assert (facts["steps"], facts["samples_seen"], facts["devices"]) == (40, 80, 2)

    monkeypatch.setenv("DEGRADATIONS", "rain noise")
    adapters = submit("--array=0-1", "scripts/slurm/adapters.sbatch", shards=sample_shards)
    assert list(Bundle.open(cluster / "runs" / "adapters" / "bundle").config.adapters) == ["rain", "noise"]
    last = [f"--dependency=afterok:{adapters}", "--ntasks-per-node=1", "scripts/slurm/estimator.sbatch"]
    submit(*last, shards=sample_shards)
    bundle = Bundle.open(cluster / "runs" / "bundle")
    assert bundle.estimator_is_current
    photograph = next((sample_shards / "photographs").glob("*.png"))
    assert main(["restore", str(photograph), "--bundle", str(bundle.path), "--output", str(cluster / "restored")]) == 0


@pytest.mark.slow
def test_an_adapter_too_many_names_what_is_missing(
    cluster: Path, sample_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEGRADATIONS", "rain")
    with pytest.raises(AssertionError, match="the array has more tasks than there are DEGRADATIONS"):
        submit("--array=1-1", "scripts/slurm/adapters.sbatch", shards=sample_shards)


@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"]])
def test_configurations_come_before_what_changes_them(cluster: Path, form: list[str]) -> None:
    shown = cluster / "bin" / "srun"
    shown.parent.mkdir()
    shown.write_text('#!/bin/bash\necho "$@"\n')
    shown.chmod(0o755)
    environment = {
        **{**os.environ, "PATH": f"{shown.parent}:{os.environ['PATH']}"},
        **{"SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4", "SLURM_RESTART_COUNT": "1"},
    }
    configs = [word.format(file) for file in ("a.yaml", "b.yaml") for word in form]
    command = ["bash", "scripts/slurm/fit.sh", "job", "--data.workers=2", *configs]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    options = ["--trainer.num_nodes=2", "--trainer.devices=4", "--data.workers=2", "--resume", "auto"]
    assert done.stdout.split()[2:] == ["fit", "--config=a.yaml", "--config=b.yaml", *options]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["rain"], "rain is no option; expected --NAME VALUE"), (["--data.workers"], "--data.workers needs a value")],
)
def test_options_that_are_none_are_refused(cluster: Path, words: list[str], message: str) -> None:
    environment = {**os.environ, "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "1"}
    command = ["bash", "scripts/slurm/fit.sh", "job", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert message in done.stderr
