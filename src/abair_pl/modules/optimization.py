"""How the weights of a phase are trained: AdamW, warm-up, cosine."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from abair_pl.errors import InputError


@dataclass(frozen=True)
class OptimizationConfig:
    """How weights are trained.

    Attributes:
        learning_rate: Peak of the learning rate, reached after the warm-up.
        final_learning_rate: Where the cosine ends, at the last step.
        warmup_steps: Steps over which the learning rate rises linearly; at most a tenth of the run.
        weight_decay: AdamW's decoupled weight decay.
        schedule_steps: Steps over which warm-up and cosine go; those of the run if left out. With more, a shorter run
            is the start of a longer one.
        ema_decay: Decay of the moving average of the weights that is validated and saved; 0 turns it off.

    Raises:
        InputError: A number is out of bounds.
    """

    learning_rate: float = 2e-4
    final_learning_rate: float = 1e-6
    warmup_steps: int = 1000
    weight_decay: float = 1e-4
    schedule_steps: int | None = None
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and 0 <= self.final_learning_rate <= self.learning_rate):
            message = (
                f"learning rates are {self.learning_rate} to {self.final_learning_rate}; expected 0 <= final <= peak"
            )
            raise InputError(message)
        if not 0 <= self.ema_decay < 1 or self.warmup_steps < 0 or self.weight_decay < 0:
            message = f"{self}: expected ema_decay in [0, 1) and no negative number"
            raise InputError(message)
        if self.schedule_steps is not None and self.schedule_steps < 1:
            message = f"schedule_steps is {self.schedule_steps}; expected at least 1, or none for the steps of the run"
            raise InputError(message)

    def steps_of_schedule(self, steps_of_run: int) -> int:
        """Steps over which everything that follows the schedule goes, in a run of so many."""
        return self.schedule_steps or steps_of_run


def optimizer_and_schedule(
    config: OptimizationConfig, parameters: Iterable[tuple[str, nn.Parameter]], total_steps: int
) -> dict[str, Any]:
    """AdamW with linear warm-up and cosine decay, both counted in steps, as Lightning takes them.

    Args:
        config: How.
        parameters: With their names; those that need no gradient are left out.
        total_steps: Optimizer steps of the run.
    """
    total_steps = config.steps_of_schedule(total_steps)
    trained = [(name, p) for name, p in parameters if p.requires_grad]
    groups = [
        {"params": [p for name, p in trained if _is_decayed(name, p) == decayed], "weight_decay": decay}
        for decayed, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    optimizer = AdamW([group for group in groups if group["params"]], lr=config.learning_rate)
    warmup = min(config.warmup_steps, max(total_steps // 10, 1))
    floor = config.final_learning_rate / config.learning_rate

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "name": "lr"},
    }


def _is_decayed(name: str, parameter: Tensor) -> bool:
    """Weights are; norms, temperatures and biases, those of positions among them, are not."""
    return parameter.ndim > 1 and not name.endswith(("bias", "temperature"))
