"""A run that was killed and resumed ends as one that was not, bit for bit, in each phase."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import SHORT, STEPS, Phase
from tests.faults.phase_run import losses

PHASES = ["pretrain", "adapter", "estimator"]
SLOW = pytest.mark.slow
CASES = [(name, 1) for name in PHASES] + [pytest.param((name, 2), marks=SLOW) for name in PHASES]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def undisturbed(
    request: pytest.FixtureRequest, make_phase: Callable[..., Phase], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Phase]]:
    """A phase, in one process or two, that was left alone."""
    name, processes = request.param
    phase = make_phase(name, tmp_path_factory.mktemp("undisturbed"), processes)
    status, said = phase.run()
    assert status == 0, said[-3000:]
    yield name, phase


def test_a_killed_run_goes_on_exactly(
    undisturbed: tuple[str, Phase], make_phase: Callable[..., Phase], tmp_path: Path
) -> None:
    """Killed in the 24th step, of which the checkpoint after the 20th knows nothing; the last rank is killed.

    Between a validation before, and one after.
    """
    name, whole = undisturbed
    killed = make_phase(name, tmp_path / "killed", whole.processes)
    status, _ = killed.run(moment="on_after_backward", step=23, rank=whole.processes - 1)
    assert status != 0
    assert killed.checkpoints[-1].name == "step-000000020.ckpt"
    assert not killed.weights
    status, said = killed.run("--resume=auto")
    assert status == 0, said[-3000:]
    assert f"going on from {killed.checkpoints[0].parent}" in said
    for rank in range(whole.processes):
        assert losses(killed.folder, rank) == losses(whole.folder, rank)
        assert list(losses(whole.folder, rank)) == list(range(1, STEPS + 1))
    assert killed.weights == whole.weights
    assert killed.settings == whole.settings
    assert not killed.half_written()


@pytest.mark.parametrize(
    "moment", ["on_validation_start", *(pytest.param(name, marks=SLOW) for name in ("on_validation_end", "on_fit_end"))]
)
def test_killed_at_the_end_it_still_writes_the_same_bundle(
    moment: str, short_run: Phase, make_phase: Callable[..., Phase], tmp_path: Path
) -> None:
    killed = make_phase("estimator", tmp_path / "killed")
    assert killed.run(*SHORT, moment=moment, step=8)[0] == -9
    status, said = killed.run(*SHORT, "--resume=auto")
    assert status == 0, said[-3000:]
    assert killed.weights == short_run.weights
    assert killed.settings == short_run.settings


def test_without_a_checkpoint_auto_starts_anew_and_a_damaged_one_is_passed_over(
    make_phase: Callable[..., Phase], tmp_path: Path
) -> None:
    phase = make_phase("adapter", tmp_path / "run")
    short = ("--trainer.max_steps=20", "--trainer.limit_val_batches=1", "--resume=auto")
    status, said = phase.run(*short)
    assert (status, "starting anew" in said) == (0, True), said[-3000:]
    *_, older, newer = phase.checkpoints
    newer.write_bytes(newer.read_bytes()[:-500])
    made = phase.weights
    status, said = phase.run(*short)
    assert status == 0, said[-3000:]
    assert f"{newer} is passed over, as it is damaged" in said
    assert f"going on from {older}" in said
    assert phase.weights == made
    assert phase.checkpoints[-1].read_bytes() != newer.read_bytes()[:-500]


def test_a_second_run_in_the_same_folder_is_refused(make_phase: Callable[..., Phase], tmp_path: Path) -> None:
    """As where a job was put back into its queue before it had ended."""
    phase = make_phase("adapter", tmp_path / "run")
    assert phase.run("--trainer.max_steps=10", "--trainer.limit_val_batches=0")[0] == 0
    first = phase.start("--trainer.max_steps=100000", "--trainer.limit_val_batches=0", "--resume=auto")
    while len(losses(phase.folder)) < 12:
        time.sleep(0.05)
        assert first.poll() is None
    status, said = phase.run("--trainer.max_steps=100000", "--trainer.limit_val_batches=0", "--resume=auto")
    first.kill()
    first.communicate()
    assert status == 2, said[-3000:]
    assert f"another run writes its checkpoints into {phase.checkpoints[0].parents[1]}" in said
