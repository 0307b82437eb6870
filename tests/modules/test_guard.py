"""What the guard says to sequences of losses and gradient norms."""

import json
import math
from typing import Any

import pytest

from abair_pl.errors import InputError
from abair_pl.modules.guard import GuardConfig, StepGuard, Verdict

WARMUP_STEPS = 100
BAD = [(math.nan, 1.0), (math.inf, 1.0), (-math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
LETTERS = {Verdict.TAKE: "t", Verdict.SKIP: "s", Verdict.RESTORE: "R", Verdict.FAIL: "F"}


def verdicts(guard: StepGuard, *steps: tuple[float, float]) -> str:
    return "".join(LETTERS[guard.judge(*step)] for step in steps)


@pytest.mark.parametrize(
    "change",
    [
        {"max_loss_factor": 1.0},
        {"max_loss_factor": -20.0},
        {"restore_after": 0},
        {"restore_after": 31},
        {"fail_after": 9},
        {"fail_after": 0, "restore_after": 0},
        {"compare_ranks_every": -1},
    ],
    ids=str,
)
def test_settings_out_of_bounds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"GuardConfig\(.*expected max_loss_factor above 1, 1 <= restore_after"):
        GuardConfig(**change)


def test_settings_at_their_bounds_are_taken() -> None:
    GuardConfig(max_loss_factor=1.01, restore_after=1, fail_after=1, compare_ranks_every=0)


@pytest.mark.parametrize("step", BAD, ids=str)
def test_what_is_not_finite_is_skipped_from_the_first_step_on(step: tuple[float, float]) -> None:
    guard = StepGuard(GuardConfig())
    assert verdicts(guard, step, (1.0, 1.0), step, step, (3.0, 1e9)) == "stsst"
    assert (guard.state.good, guard.state.skipped, guard.state.skipped_in_a_row) == (2, 3, 0)
    assert guard.state.mean == 2.0


def test_a_loss_explodes_only_after_the_good_steps_of_the_warmup() -> None:
    guard = StepGuard(GuardConfig(max_loss_factor=4.0))
    assert verdicts(guard, *[(1.0, 1.0)] * (WARMUP_STEPS - 1), (math.nan, 1.0)) == "t" * (WARMUP_STEPS - 1) + "s"
    assert verdicts(guard, (5.0, 1.0)) == "t", "99 good steps before it"
    mean = guard.state.mean
    assert mean == pytest.approx(1.0 + 0.02 * 4.0)
    assert verdicts(guard, (4.0 * mean * 1.001, 1.0), (4.0 * mean, 1.0)) == "st"


def test_a_skipped_loss_does_not_move_the_mean() -> None:
    guard = StepGuard(GuardConfig(max_loss_factor=4.0, restore_after=50, fail_after=50))
    verdicts(guard, *[(1.0, 1.0)] * WARMUP_STEPS)
    assert verdicts(guard, *[(1000.0, 1.0)] * 40) == "s" * 40
    assert guard.state.mean == 1.0


def test_the_mean_is_of_all_losses_at_first_and_follows_them_later() -> None:
    guard = StepGuard(GuardConfig())
    losses = [float(number % 7) for number in range(50)]
    verdicts(guard, *[(loss, 1.0) for loss in losses])
    assert guard.state.mean == pytest.approx(sum(losses) / 50)
    verdicts(guard, *[(10.0, 1.0)] * 300)
    assert guard.state.mean == pytest.approx(10.0, rel=0.01)


def test_it_restores_every_few_and_then_fails() -> None:
    guard = StepGuard(GuardConfig(restore_after=3, fail_after=8))
    assert verdicts(guard, *[BAD[0]] * 8) == "ssRssRsF"
    assert (guard.state.restored, guard.state.skipped) == (2, 8)


def test_a_good_step_starts_the_count_anew() -> None:
    guard = StepGuard(GuardConfig(restore_after=2, fail_after=3))
    good = (1.0, 1.0)
    assert verdicts(guard, BAD[0], good, BAD[1], BAD[3], good, BAD[0], BAD[0], BAD[0]) == "stsRtsRF"


@pytest.mark.parametrize(("restore_after", "said"), [(1, "RF"), (2, "sF")])
def test_failing_comes_before_restoring(restore_after: int, said: str) -> None:
    guard = StepGuard(GuardConfig(restore_after=restore_after, fail_after=2))
    assert verdicts(guard, *[BAD[0]] * 2) == said


def test_a_guard_goes_on_from_its_state() -> None:
    """Which a checkpoint keeps in plain types."""
    config = GuardConfig(max_loss_factor=4.0, restore_after=4, fail_after=9)
    steps = [*[(1.0 + number % 3, 1.0) for number in range(WARMUP_STEPS)], *BAD]
    whole, first, second = StepGuard(config), StepGuard(config), StepGuard(config)
    said = verdicts(first, *steps[:-2])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = [*steps[-2:], (50.0, 1.0), (1.0, 1.0)]
    assert said + verdicts(second, *rest) == verdicts(whole, *steps[:-2], *rest)
    assert second.state == whole.state
    assert second.state.restored == 1
