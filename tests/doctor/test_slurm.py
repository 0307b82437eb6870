import time
from collections.abc import Callable
from pathlib import Path

import pytest

from abair_pl.doctor.page import Section
from abair_pl.doctor.plan import Plan
from abair_pl.doctor.slurm import check_slurm, read_directives
from abair_pl.errors import InputError

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "pretrain", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4"}
SCRIPT = """#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node 4
#SBATCH --gpus-per-node=a100:4   # a comment
#SBATCH --signal=SIGUSR1@120
#SBATCH --requeue
#SBATCH --array=0-4
srun abair-pl fit --nodes=9
"""


@pytest.fixture
def wide(plan: Plan, change: Callable[..., Plan]) -> Plan:
    """A run of four processes on each of two nodes."""
    return change(plan, devices=4, nodes=2)


def problems(section: Section) -> list[str]:
    return [str(line) for line in section.marked("problem")]


def test_without_a_job_there_is_nothing_to_say(wide: Plan) -> None:
    section = check_slurm(wide, environment={"SLURM_CONF": "/etc/slurm.conf"})
    assert [line.mark for line in section.lines] == [""]
    assert section.facts == {"slurm": None}


def test_a_job_that_fits(wide: Plan) -> None:
    section = check_slurm(wide, environment={**JOB, "SLURM_NTASKS": "8"})
    assert not problems(section)
    assert section.facts["slurm"]["ntasks-per-node"] == "4"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SLURM_NTASKS_PER_NODE": "1"}, "starts 1 task a node, the trainer expects 4"),
        ({"SLURM_NNODES": "1"}, "gives 1 node, the trainer expects 2"),
        ({"SLURM_NTASKS": "7"}, "starts 7 tasks, the trainer expects 8"),
        ({"SBATCH_SIGNAL": "SIGHUP@90"}, "not listened to"),
    ],
)
def test_what_would_stall_is_a_problem(variables: dict[str, str], words: str, wide: Plan) -> None:
    (problem,) = problems(check_slurm(wide, environment={**JOB, **variables}))
    assert words in problem
    assert "#SBATCH" in problem or "--ntasks" in problem


def test_tasks_without_a_number_a_node_are_refused_as_lightning_does(wide: Plan) -> None:
    environment = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}
    (problem,) = problems(check_slurm(wide, environment=environment))
    assert "--ntasks-per-node in place of --ntasks" in problem


@pytest.mark.parametrize("extra", [{"SLURM_JOB_NAME": "interactive"}, {"TORCHELASTIC_RUN_ID": "x"}])
def test_tasks_do_not_matter_where_others_start_the_processes(extra: dict[str, str], plan: Plan) -> None:
    assert not problems(check_slurm(plan, environment={**JOB, **extra}))


def test_too_few_gpus_are_a_problem(wide: Plan, change: Callable[..., Plan]) -> None:
    gpus = change(wide, {"trainer.accelerator": "gpu"})
    assert not problems(check_slurm(gpus, environment={**JOB, "SLURM_GPUS_ON_NODE": "4"}))
    assert "2 GPUs a node" in problems(check_slurm(gpus, environment={**JOB, "SLURM_GPUS_ON_NODE": "2"}))[0]


def test_gpus_are_compared_where_the_login_node_has_none(wide: Plan, change: Callable[..., Plan]) -> None:
    automatic = change(wide, {"trainer.accelerator": "auto"}, accelerator="cpu")
    directives = {"nodes": "2", "ntasks-per-node": "4", "gpus-per-node": "2"}
    assert "2 GPUs a node" in problems(check_slurm(automatic, directives, environment={}))[0]
    assert not problems(check_slurm(wide, directives, environment={})), "it trains on CPUs"


@pytest.mark.parametrize(
    ("directives", "environment"),
    [
        ({"nodes": "2", "ntasks-per-node": "4", "gpus-per-task": "1"}, {}),
        (None, {**JOB, "SLURM_GPUS_PER_TASK": "1", "SLURM_GPUS_ON_NODE": "1"}),
    ],
)
def test_one_gpu_for_each_task_is_a_problem(
    directives: dict[str, str] | None, environment: dict[str, str], wide: Plan, change: Callable[..., Plan]
) -> None:
    gpus = change(wide, {"trainer.accelerator": "gpu"})
    (problem,) = problems(check_slurm(gpus, directives, environment=environment))
    assert problem == (
        "--gpus-per-task shows each task one GPU only, and the trainer expects all of its node; "
        "set #SBATCH --gpus-per-node=4 in its place"
    )


def test_one_gpu_for_the_only_task_is_none(plan: Plan, change: Callable[..., Plan]) -> None:
    gpus = change(plan, {"trainer.accelerator": "gpu"})
    assert not problems(check_slurm(gpus, {"nodes": "1", "gpus-per-task": "1"}, environment={}))


def test_too_few_cores_are_a_warning(wide: Plan, change: Callable[..., Plan]) -> None:
    reading = change(wide, {"data.workers": 4})
    section = check_slurm(reading, environment={**JOB, "SLURM_CPUS_PER_TASK": "4"})
    assert section.marked("warning")[0].remedy.startswith("set #SBATCH --cpus-per-task=5")


@pytest.mark.parametrize(
    ("signal", "mark"),
    [
        ("SIGUSR1@120", "ok"),
        ("USR1@90", "ok"),
        ("10@90", "ok"),
        ("R:TERM@90", "ok"),
        ("USR1", "ok"),
        ("B:USR1@90", "warning"),
        ("USR1@5", "warning"),
        ("KILL@90", "problem"),
        (None, "warning"),
    ],
)
def test_signal_before_the_time_limit(signal: str | None, mark: str) -> None:
    directives = {"nodes": "1", **({} if signal is None else {"signal": signal})}
    (line,) = [line for line in check_slurm(directives=directives, environment={}).lines if line.name == "SLURM signal"]
    assert line.mark == mark


def test_array_job_is_told() -> None:
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_COUNT": "5"}
    texts = [line.text for line in check_slurm(environment={**JOB, **array}).lines]
    assert "task 3 of 5 in 70" in texts


@pytest.mark.parametrize(("hours", "mark"), [(9, "ok"), (11, "warning")])
def test_time_that_is_left(hours: int, mark: str, wide: Plan) -> None:
    environment = {**JOB, "SLURM_JOB_END_TIME": f"{time.time() + 36000:.0f}"}
    section = check_slurm(wide, seconds=hours * 3600, environment=environment)
    (line,) = [line for line in section.lines if line.name == "SLURM time"]
    assert line.mark == mark
    assert line.text == f"10.0 h are left of the job, the run takes {hours}.0 h"


def test_minutes_of_a_script_are_no_end_of_the_job(wide: Plan) -> None:
    section = check_slurm(wide, {"time": "120"}, seconds=3600, environment=JOB)
    assert "SLURM time" not in [line.name for line in section.lines]


def test_script_is_read_by_its_directives_alone(tmp_path: Path, wide: Plan) -> None:
    script = tmp_path / "job.sbatch"
    script.write_text(SCRIPT)
    directives = read_directives(script)
    assert directives == {
        **{"nodes": "2", "ntasks-per-node": "4", "gpus-per-node": "a100:4", "signal": "SIGUSR1@120"},
        **{"requeue": "yes", "array": "0-4"},
    }
    section = check_slurm(wide, directives, environment={})
    assert not problems(section)
    assert not section.marked("warning")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        *((option, {"nodes": "2"}) for option in ("-N 2", "-N2", "--nodes 2", "--nodes=2", " -N  2  # a comment")),
        ("-n 8", {"ntasks": "8"}),
        ("-c4", {"cpus-per-task": "4"}),
        ("-t 120", {"time": "120"}),
        ("-a 0-4", {"array": "0-4"}),
        ("-J pretrain", {"job-name": "pretrain"}),
        ("--requeue  # again", {"requeue": "yes"}),
        ("--requeue \n#SBATCH -N 2", {"requeue": "yes", "nodes": "2"}),
    ],
)
def test_options_are_read_in_all_their_forms(option: str, expected: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "job.sbatch"
    script.write_text(f"#!/bin/bash\n#SBATCH {option}\nsrun -N 9\n")
    assert read_directives(script) == expected


@pytest.mark.parametrize("text", [None, "echo no directive\n"])
def test_what_is_no_script_is_refused(text: str | None, tmp_path: Path) -> None:
    script = tmp_path / "job.sbatch"
    if text is not None:
        script.write_text(text)
    with pytest.raises(InputError, match="expected a job script"):
        read_directives(script)
