import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from abair_pl.cli import main
from abair_pl.doctor import packages
from abair_pl.doctor.command import doctor
from abair_pl.errors import AbairError, InputError


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever job the tests run in."""
    for name in ("SLURM_JOB_ID", "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def facts_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_json_holds_the_facts_of_machine_and_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor(preset="tiny", output=tmp_path / "not" / "yet", json=True) == 0
    facts = facts_of(capsys)
    assert {"torch", "lightning", "peft", "kornia", "python", "cpu_cores", "gpus", "free_disk_gib"} <= facts.keys()
    assert 1_000_000 <= facts["backbone_parameters"] <= 2_500_000
    assert facts["problems"] == []
    assert facts["wandb"] == version("wandb"), "no section takes the key of another"
    assert not (tmp_path / "not").exists()


def test_shards_are_counted(capsys: pytest.CaptureFixture[str], sample_shards: Path, tmp_path: Path) -> None:
    assert main(["doctor", "--shards", str(sample_shards / "train"), "--output", str(tmp_path), "--json"]) == 0
    facts = facts_of(capsys)
    assert (facts["shards"], facts["samples"]) == (2, 8)


def test_missing_shards_are_a_problem(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor(shards=str(tmp_path / "train-{000000..000003}.tar"), output=tmp_path, json=True) == 1
    (problem,) = facts_of(capsys)["problems"]
    assert "train-000000.tar" in problem


def test_page_has_all_sections(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor(output=tmp_path, preset="tiny") == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if line[:1].isalpha()]
    assert titles[:-1] == ["Packages", "Machine", "Shards", "Launch", "Output", "W&B", "Preset tiny"]
    assert titles[-1].endswith("nothing that would break")


def test_missing_packages_end_it_before_they_are_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(packages.TESTED, "no-such-package", "1.0")
    assert doctor(config=[tmp_path / "none.yaml"], json=True) == 1
    facts = facts_of(capsys)
    assert facts["problems"] == ["no-such-package is not installed; run: pip install abair-pl"]
    assert "cpu_cores" not in facts


def test_a_run_is_tried(
    pretrain: Path, small: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_JOB_END_TIME", "0")
    assert main(["doctor", "--config", str(pretrain), "--override", *small, "--steps", "1", "--json"]) == 0
    facts = facts_of(capsys)
    assert facts["dry_run"]["steps"] == 1
    assert (facts["forecast"]["steps"], facts["forecast"]["validations"]) == (20, 4)
    assert facts["forecast"]["seconds"] > 20 * facts["dry_run"]["step_seconds"]
    assert facts["output"][0]["needed_bytes"] == 4 * facts["dry_run"]["checkpoint_bytes"]
    assert any("h are left of the job" in warning for warning in facts["warnings"])


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let dry runs fail."""

    def fail(*_: Any) -> None:
        message = "out of memory; take less"
        raise AbairError(message)

    monkeypatch.setattr("abair_pl.doctor.dry_run.dry_run", fail)


@pytest.mark.usefixtures("failing")
def test_a_run_that_fails_is_a_problem_whatever_else_is_wrong(
    pretrain: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(config=[pretrain], override=[*small, "model.preset=huge"], json=True) == 1
    facts = facts_of(capsys)
    assert (facts["dry_run"], facts["forecast"]) == (None, None)
    assert facts["problems"] == ["out of memory; take less"]
    assert [place["needed_bytes"] for place in facts["output"]] == [None, None]


def test_a_run_that_cannot_work_is_not_tried(
    pretrain: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(config=[pretrain], override=[*small, "data.workers=9"], json=True) == 1
    facts = facts_of(capsys)
    assert facts["dry_run"] is None
    assert len(facts["problems"]) == 1


def test_a_run_without_last_step_is_a_problem(
    pretrain: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(config=[pretrain], override=[*small, "trainer.max_steps=-1"], json=True) == 1
    assert facts_of(capsys)["problems"][0].endswith("; set trainer.max_steps")


def test_no_steps_leave_the_dry_run_out(pretrain: Path, small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(config=[pretrain], override=small, steps=0) == 0
    assert "left out by --steps 0" in capsys.readouterr().out


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A job script of one task with one GPU."""
    script = tmp_path / "job.sbatch"
    script.write_text("#SBATCH --nodes=1\n#SBATCH --gpus-per-node=1\n#SBATCH --signal=USR1@120\n")
    return script


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("accelerator", ["gpu", "auto"])
def test_a_login_node_is_not_judged(
    accelerator: str,
    script: Path,
    pretrain: Path,
    small: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    run = [*small, f"trainer.accelerator={accelerator}", "trainer.precision=16-mixed", "trainer.devices=1"]
    assert doctor(config=[pretrain], override=run, sbatch=script) == 0
    page = capsys.readouterr().out
    assert "those of the job, not of this machine" in page
    assert "left out, as this machine has no GPU" in page
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert doctor(config=[pretrain], override=run, sbatch=script, steps=0) == 1
    assert "those of the job" not in capsys.readouterr().out


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(
    ("strategy", "devices", "mark"), [("auto", 1, "problem"), ("fsdp", 2, "warning"), ("ddp", 2, "problem")]
)
def test_what_one_device_cannot_hold_may_be_divided(
    strategy: str,
    devices: int,
    mark: str,
    pretrain: Path,
    small: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = [*small, f"trainer.strategy={strategy}", f"trainer.devices={devices}"]
    assert doctor(config=[pretrain], override=changed, json=True) == (mark == "problem")
    (found,) = [line for line in facts_of(capsys)[f"{mark}s"] if "out of memory" in line]
    assert found.endswith("; take less")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": -1}, "--steps is -1"),
        ({"override": ["data.batch_size=8"]}, "expected one, such as --config"),
        ({"preset": "huge"}, "unknown preset 'huge'"),
        ({"sbatch": Path("none.sbatch")}, "expected a job script"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        doctor(**arguments)
    assert error.value.exit_status == 2
