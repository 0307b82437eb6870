"""The guard against steps that would spoil a run: losses and gradients that are not finite, or explode."""

import math
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import Any

from abair_pl.errors import InputError

_WARMUP_STEPS = 100
"""Good steps before a loss can be told to explode."""

_SHARE = 0.02
"""Of a step in the running mean of the loss."""


@dataclass(frozen=True)
class GuardConfig:
    """What is done about steps that go wrong; the same on all ranks, as they judge the same numbers.

    Attributes:
        max_loss_factor: A step whose loss is more than this many times the running mean, and more than losses were
            after the first hundred steps, is skipped, as is one whose loss or gradient is not finite.
        restore_after: Steps skipped in a row, after which weights, optimizer and moving average go back to the last
            checkpoint; the data goes on.
        fail_after: Steps skipped in a row, after which training fails.
        compare_ranks_every: Steps between two comparisons of the weights of all ranks; 0 turns them off.

    Raises:
        InputError: A number is out of bounds.
    """

    max_loss_factor: float = 20.0
    restore_after: int = 10
    fail_after: int = 30
    compare_ranks_every: int = 500

    def __post_init__(self) -> None:
        if (
            not self.max_loss_factor > 1
            or not 1 <= self.restore_after <= self.fail_after
            or self.compare_ranks_every < 0
        ):
            message = (
                f"{self}: expected max_loss_factor above 1, 1 <= restore_after <= fail_after, "
                "and no negative compare_ranks_every"
            )
            raise InputError(message)


class Verdict(Enum):
    """What is to be done with a step."""

    TAKE = auto()
    SKIP = auto()
    RESTORE = auto()
    FAIL = auto()


@dataclass
class GuardState:
    """What the guard knows, kept in checkpoints.

    Attributes:
        mean: Running mean of the losses of good steps.
        start: The running mean when exploding losses were first looked for.
        good: Good steps so far.
        skipped: Skipped steps so far.
        skipped_in_a_row: Of these the last ones.
        restored: How often the last checkpoint was gone back to.
    """

    mean: float = 0.0
    start: float = 0.0
    good: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    restored: int = 0


class StepGuard:
    """Judges steps by loss and gradient norm.

    Args:
        config: Where it draws lines.

    Attributes:
        state: What it knows.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.state = GuardState()

    def judge(self, loss: float, gradient_norm: float) -> Verdict:
        """What is to be done with a step.

        Args:
            loss: The mean over all ranks.
            gradient_norm: Of the gradient as it is averaged over all ranks, before clipping.
        """
        state, config = self.state, self.config
        limit = max(config.max_loss_factor * state.mean, state.start)
        explodes = state.good >= _WARMUP_STEPS and loss > limit
        if math.isfinite(loss) and math.isfinite(gradient_norm) and not explodes:
            state.good += 1
            share = max(_SHARE, 1.0 / state.good)
            state.mean += share * (loss - state.mean)
            if state.good == _WARMUP_STEPS:
                state.start = state.mean
            state.skipped_in_a_row = 0
            return Verdict.TAKE
        state.skipped += 1
        state.skipped_in_a_row += 1
        if state.skipped_in_a_row >= config.fail_after:
            return Verdict.FAIL
        if state.skipped_in_a_row % config.restore_after == 0:
            state.restored += 1
            return Verdict.RESTORE
        return Verdict.SKIP

    def state_dict(self) -> dict[str, Any]:
        """In plain types, for a checkpoint."""
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.state = GuardState(**state)
