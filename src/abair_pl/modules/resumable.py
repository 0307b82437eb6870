"""What makes a phase survive faults: bad steps, signals to stop, and checkpoints that say what they belong to."""

import signal
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from abair_pl.errors import InputError, PreemptedError, TrainingError
from abair_pl.modules.callbacks.averaging import ExponentialMovingAverage
from abair_pl.modules.callbacks.checkpoints import RollingCheckpoint
from abair_pl.modules.callbacks.preemption import STOP_SIGNALS
from abair_pl.modules.guard import GuardConfig, StepGuard, Verdict
from abair_pl.modules.last_good import LastGood
from abair_pl.modules.sharding import whole

_STATES = ("state_dict", "current_model_state")
"""Where a checkpoint has weights: the averaged ones and, beside them, those that are trained."""


class ResumableModule(L.LightningModule):
    """A module whose steps are guarded, that stops when it is told to, and that goes on exactly where it stopped.

    Args:
        identity: What a checkpoint must agree on to be resumed, in plain types.
        guard: What is done about steps that go wrong.
    """

    has_weights = False
    """Whether a bundle or a checkpoint gave the weights that this phase trains."""

    def __init__(self, identity: Mapping[str, Any], guard: GuardConfig) -> None:
        super().__init__()
        self.save_hyperparameters(dict(identity), logger=False)
        self.guard = StepGuard(guard)
        self.last_good = LastGood()
        self.samples_seen = 0
        self.stop_signal = 0  # what this process was told
        self.stop_agreed = 0  # what all ranks know of
        self._losses: list[Tensor] = []  # since the last optimizer step

    def on_train_start(self) -> None:
        """The start, or the checkpoint that was loaded, is what the first bad steps go back to."""
        self._losses.clear()
        self.stop_agreed = 0
        self.last_good.remember(self._trained_tensors(), self._optimizer())

    def remember(self) -> None:
        """Take this state as good, if it is; called when it has been written to a checkpoint."""
        if self.guard.state.skipped_in_a_row == 0:
            self.last_good.remember(self._trained_tensors(), self._optimizer())

    def _optimizer(self) -> Optimizer:
        return self.trainer.optimizers[0]

    def _trained_tensors(self) -> list[Tensor]:
        """The weights that are trained, and their averages."""
        averages = [each for each in self.trainer.callbacks if isinstance(each, ExponentialMovingAverage)]  # type: ignore[attr-defined]
        trained: list[Tensor] = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [*trained, *(tensor for each in averages for tensor in each.averages)]

    def note_loss(self, loss: Tensor) -> None:
        """Take note of the loss of a batch on this rank, to be judged before the optimizer's next step."""
        self._losses.append(loss.detach())

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Judge the step, on all ranks alike: clip its gradient, or drop it, so that the step changes nothing.

        Raises:
            TrainingError: Too many steps in a row were dropped.
        """
        parameters = [parameter for parameter in self.parameters() if parameter.grad is not None]
        norm = whole(nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None]))
        found = self._agree(torch.stack(self._losses).mean(), norm)
        self._losses.clear()
        verdict = self.guard.judge(*found)
        self.log("train/gradient_norm", norm)
        self.log("train/skipped_steps", float(self.guard.state.skipped))
        if verdict is Verdict.TAKE:
            if gradient_clip_val is not None:
                self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        optimizer.zero_grad(set_to_none=True)
        if verdict is Verdict.RESTORE:
            self.last_good.bring_back(self._trained_tensors(), optimizer)
        self._tell(verdict, *found)

    def _agree(self, loss: Tensor, norm: Tensor) -> tuple[float, float]:
        """The loss over all ranks, and the norm; whether any rank was told to stop becomes :attr:`stop_agreed`."""
        told = [float(self.stop_signal == number) for number in STOP_SIGNALS]
        summed = self._summed(torch.cat([loss.detach().float().view(1), loss.new_tensor(told, dtype=torch.float32)]))
        total, *flags, gradient_norm = torch.cat([summed, norm.detach().float().view(1)]).tolist()
        self._note_stop(flags)
        return total / self.trainer.world_size, gradient_norm

    def _summed(self, values: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(values, reduce_op="sum") if self.trainer.world_size > 1 else values

    def _note_stop(self, flags: list[float]) -> None:
        agreed = [number for number, flag in zip(STOP_SIGNALS, flags, strict=True) if flag]
        self.stop_agreed = int(agreed[0]) if agreed else 0

    def _tell(self, verdict: Verdict, loss: float, norm: float) -> None:
        state, step = self.guard.state, self.global_step
        found = f"loss {loss:.3g} (mean {state.mean:.3g}) and gradient norm {norm:.3g}"
        if verdict is Verdict.FAIL:
            message = (
                f"{state.skipped_in_a_row} steps in a row had losses or gradients that are not finite or explode, the "
                f"last, step {step}, {found}; go on from a checkpoint in float32 (--trainer.precision 32-true), or "
                "start anew with a lower learning rate"
            )
            raise TrainingError(message)
        if verdict is Verdict.RESTORE:
            rank_zero_warn(
                f"{state.skipped_in_a_row} steps in a row were skipped, the last with {found}: back to the weights "
                "of the last checkpoint"
            )
        elif state.skipped_in_a_row == 1:
            rank_zero_warn(f"step {step} is skipped: {found}; skipped so far: {state.skipped}")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run, if it was told to; the checkpoint callback has written the state by now.

        Raises:
            PreemptedError: It was.
        """
        if self.stop_agreed:
            self._stop()

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """As in training; there is a checkpoint of before the validation. All ranks have equally many batches.

        Raises:
            PreemptedError: The run was told to stop.
        """
        if self.trainer.state.fn == "fit":
            told = torch.tensor([float(self.stop_signal == number) for number in STOP_SIGNALS], device=self.device)
            self._note_stop(self._summed(told).tolist())
            if self.stop_agreed:
                self._stop()

    @property
    def can_go_on(self) -> bool:
        """Whether checkpoints are written that ``--resume auto`` finds."""
        return any(isinstance(each, RollingCheckpoint) for each in self.trainer.checkpoint_callbacks)

    def _stop(self) -> None:
        name = signal.Signals(self.stop_agreed).name
        advice = "go on with --resume auto" if self.can_go_on else "without a RollingCheckpoint nothing was written"
        message = f"stopped by {name} at step {self.global_step}; {advice}"
        raise PreemptedError(message)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was counted, and leave out frozen weights, which the bundle has."""
        checkpoint["samples_seen"] = self.samples_seen
        checkpoint["max_steps"] = self.trainer.max_steps
        checkpoint["guard"] = self.guard.state_dict()
        frozen = {name for name, value in self.named_parameters() if not value.requires_grad}
        for state in _STATES:
            if state in checkpoint:
                checkpoint[state] = {name: value for name, value in checkpoint[state].items() if name not in frozen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of a run with other settings instead of mixing the two.

        Raises:
            InputError: It is one.
        """
        stored = checkpoint.get("hyper_parameters", {})
        for name, value in self.hparams.items():
            measuring = name == "optimization" and self.trainer.state.fn != "fit"
            if name in stored and stored[name] != value and not measuring:
                before, now = _differing(stored[name], value)
                message = (
                    f"the checkpoint was made with {name}={before!r}, this run has {now!r}; --resume and --ckpt_path "
                    "only go on with the same run: set it back, start anew with --resume never, or from weights with "
                    "--model.init_from BUNDLE"
                )
                raise InputError(message)
        steps, own_steps = checkpoint.get("max_steps"), self.trainer.max_steps
        follows_run = self.hparams.get("optimization", {}).get("schedule_steps") is None
        if steps not in (None, own_steps) and follows_run and self.trainer.state.fn == "fit":
            rank_zero_warn(
                f"the checkpoint is of a run of {steps} steps, this one has {own_steps}: the learning rate goes on in "
                f"the schedule of {own_steps}, and may jump"
            )
        self.samples_seen = checkpoint.get("samples_seen", 0)
        self.has_weights = True
        if "guard" in checkpoint:
            self.guard.load_state_dict(checkpoint["guard"])
        own = self.state_dict()
        for state in _STATES:
            if state in checkpoint:
                checkpoint[state] = {**own, **checkpoint[state]}


def _differing(stored: Any, value: Any) -> tuple[Any, Any]:
    """Two settings; of two groups of settings, only what differs."""
    if not isinstance(stored, dict) or not isinstance(value, dict):
        return stored, value
    names = [name for name in {**stored, **value} if stored.get(name) != value.get(name)]
    return {name: stored.get(name) for name in names}, {name: value.get(name) for name in names}
