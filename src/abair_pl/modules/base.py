"""What the three phases share: the step, the optimizer, the guard, the metrics and the bundle."""

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle
from abair_pl.errors import InputError, TrainingError
from abair_pl.metrics import RestorationMetrics
from abair_pl.modules.callbacks import (
    ArtifactLogger,
    ExponentialMovingAverage,
    PanelLogger,
    PredictionWriter,
    PreemptionHandler,
    ProgressLines,
    RandomStates,
    RankAgreement,
    RunRecorder,
    TableLogger,
    ThroughputMonitor,
    TrainingClock,
    rows_to_draw,
)
from abair_pl.modules.guard import GuardConfig
from abair_pl.modules.optimization import OptimizationConfig, optimizer_and_schedule
from abair_pl.modules.resumable import ResumableModule
from abair_pl.modules.sharding import check_strategy, gather, shard


@dataclass(frozen=True)
class StepResult:
    """What a training step gives: the loss, and its parts for the log, as ``train/<name>``."""

    loss: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class RestorationModule(ResumableModule):
    """Base of the three phases; subclasses say what is trained, by which loss, and what is saved.

    Args:
        optimization: How weights are trained.
        save_to: The bundle that is written when training ends.
        identity: What a checkpoint must agree on to be resumed, in plain types.
        guard: What is done about steps that go wrong.
    """

    degradations: list[str]
    """In the order of the labels, clean left out; the datamodule synthesizes these."""

    bundle: Bundle | None = None
    """The bundle that this phase starts from."""

    part = ""
    """The file or folder of the bundle that this phase makes; all of it if empty."""

    def __init__(
        self, optimization: OptimizationConfig, save_to: Path, identity: Mapping[str, Any], guard: GuardConfig
    ) -> None:
        super().__init__({**identity, "optimization": asdict(optimization)}, guard)
        self.optimization = optimization
        self.save_to = save_to
        self.facts: dict[str, Any] = {}  # of the run, for the provenance; callbacks add theirs
        self.panel: list[tuple[Tensor, ...]] = []  # what is drawn after this validation
        self.bundle_written = False

    @abstractmethod
    def restore(self, degraded: Tensor) -> Tensor:
        """The restored image ``(B, 3, H, W)``, not clamped, as this phase makes it."""

    def shown_labels(self, batch: RestorationBatch) -> Tensor:
        """The label maps ``(B, H, W)`` that panels show: predicted ones where the phase has any."""
        return batch.labels

    @abstractmethod
    def training_result(self, batch: RestorationBatch) -> StepResult:
        """The loss of a training batch."""

    @abstractmethod
    def save_bundle(self, provenance: dict[str, Any]) -> None:
        """Write :attr:`save_to`."""

    @property
    def phase(self) -> str:
        """What the bundle's provenance calls this phase, such as ``pretrain`` or ``adapter/rain``."""
        return type(self).__name__.removeprefix("FSDP").removesuffix("Module").lower()

    @property
    def metric_of(self) -> dict[str, RestorationMetrics]:
        """The metrics by degradation."""
        return cast("dict[str, RestorationMetrics]", dict(self.restoration_metrics.items()))

    @abstractmethod
    def is_trained(self, name: str) -> bool:
        """Whether the parameter of this name is meant to be trained."""

    def make_metrics(self) -> None:
        """Make the metrics; called once by subclasses when ``degradations`` is known."""
        self.restoration_metrics = nn.ModuleDict({name: RestorationMetrics() for name in self.degradations})

    def setup(self, stage: str) -> None:
        """Check, before the strategy wraps the module, that exactly what is meant to be trained is.

        Raises:
            TrainingError: Another set of parameters would be trained.
            InputError: The run has no last step, or ``save_to`` holds a bundle that the result does not fit.
        """
        wrong = [name for name, value in self.named_parameters() if value.requires_grad != self.is_trained(name)]
        if wrong:
            message = f"{type(self).__name__}: {wrong[0]} is frozen or trained against its phase's rule"
            raise TrainingError(message)
        self.bundle_written = False
        if stage == "fit":
            if self.trainer.max_steps < 1 and not getattr(self.trainer, "fast_dev_run", False):
                message = "the run has no last step, at which the learning rate would end; set --trainer.max_steps"
                raise InputError(message)
            self.check_save_to()
            every = self.guard.config.compare_ranks_every
            check_strategy(self.trainer.strategy, self.optimization.ema_decay, every)
            self.print(f"training {sum(p.numel() for p in self.parameters() if p.requires_grad):,} parameters")

    def check_save_to(self) -> None:
        """Fail now, and not after training, where the result could not be saved.

        Raises:
            InputError: ``save_to`` holds a bundle that the result does not fit.
        """

    def configure_model(self) -> None:
        """Split the weights over the devices, where the strategy does."""
        if self.device_mesh is not None:
            self.strict_loading = False  # a checkpoint has no frozen weights, and is loaded before its hook is called
            shard(self, self.device_mesh["data_parallel"])

    @property
    def progress(self) -> float:
        """Share of the schedule of the learning rate that is done, in [0, 1]; 0 without a trainer."""
        if self._trainer is None:
            return 0.0
        return min(self.global_step / self.optimization.steps_of_schedule(self._steps_of_the_run), 1.0)

    @property
    def _steps_of_the_run(self) -> int:
        return int(self.trainer.estimated_stepping_batches)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine decay, both counted in steps."""
        return optimizer_and_schedule(self.optimization, self.named_parameters(), self._steps_of_the_run)

    def configure_callbacks(self) -> list[Callback]:
        """What every phase watches and averages."""
        callbacks: list[Callback] = [ThroughputMonitor(), PanelLogger(), PredictionWriter(), TrainingClock()]
        callbacks += [RunRecorder(), ArtifactLogger(), TableLogger(), PreemptionHandler(), RandomStates()]
        callbacks.append(ProgressLines())
        callbacks.append(RankAgreement(self.guard.config.compare_ranks_every))
        if self.optimization.ema_decay > 0:
            callbacks.append(ExponentialMovingAverage(self.optimization.ema_decay))
        return callbacks

    def training_step(self, batch: RestorationBatch, batch_idx: int) -> Tensor:
        """One step; see :meth:`training_result`."""
        result = self.training_result(batch)
        self.note_loss(result.loss)
        self.samples_seen += len(batch.clean) * self.trainer.world_size
        self.log("train/loss", result.loss.detach(), prog_bar=True)
        self.log_dict({f"train/{name}": value.detach() for name, value in result.parts.items()})
        return result.loss

    def validation_step(self, batch: RestorationBatch, batch_idx: int) -> Tensor:
        """Measure restored images ``(B, 3, H, W)`` in [0, 1] by degradation, and give them to the callbacks."""
        restored = self.restore(batch.degraded).float().clamp(0.0, 1.0)
        label_of = batch.labels[:, 0, 0]
        for name, metric in self.metric_of.items():
            chosen = (label_of == 1 + self.degradations.index(name)) & batch.valid
            metric.update(restored[chosen], batch.clean[chosen])
        if batch_idx == 0 and self.trainer.validating:
            self.panel = rows_to_draw(batch, restored, self.shown_labels(batch))
        return restored

    def on_validation_start(self) -> None:
        """Refuse to measure weights that nothing has trained; a checkpoint has been loaded by now."""
        if self.trainer.state.fn != "fit" and not self.has_weights:
            message = "the weights of this phase are untrained; give --ckpt_path, or a --model.init_from that has them"
            raise InputError(message)

    def on_test_start(self) -> None:
        """As for validation."""
        self.on_validation_start()

    def on_predict_start(self) -> None:
        """As for validation."""
        self.on_validation_start()

    def on_validation_epoch_end(self) -> None:
        """Log the measures as ``val/``."""
        self.log_measures("val")

    def log_measures(self, stage: str) -> None:
        """Log ``<stage>/psnr/<degradation>``, ``<stage>/ssim/<degradation>`` and their means."""
        values: dict[str, list[Tensor]] = {"psnr": [], "ssim": []}
        for name, metric in self.metric_of.items():
            for kind, value in metric.compute().items():
                self.log(f"{stage}/{kind}/{name}", value.float(), rank_zero_only=True)
                values[kind].append(value.float())
            metric.reset()
        for kind, all_values in values.items():
            mean = torch.stack(all_values).mean()
            self.log(f"{stage}/{kind}", mean, prog_bar=kind == "psnr", rank_zero_only=True)

    def test_step(self, batch: RestorationBatch, batch_idx: int) -> Tensor:
        """The same measures as in validation."""
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log the measures as ``test/``."""
        self.log_measures("test")

    def predict_step(self, batch: RestorationBatch, batch_idx: int) -> Tensor:
        """The restored images of a batch, ``(B, 3, H, W)`` in [0, 1]."""
        return self.restore(batch.degraded).float().clamp(0.0, 1.0)

    def on_fit_end(self) -> None:
        """Write the bundle, unless this was only a trial run."""
        gather(self)
        if self.trainer.is_global_zero and not getattr(self.trainer, "fast_dev_run", False):
            self.save_bundle({"steps": self.global_step, "samples_seen": self.samples_seen, **self._run_facts()})
            self.bundle_written = True
            self.print(f"bundle written to {self.save_to}")

    def _run_facts(self) -> dict[str, Any]:
        settings = hashlib.sha256(json.dumps(self.hparams, sort_keys=True, default=str).encode()).hexdigest()[:16]
        facts: dict[str, Any] = {"config": settings, "seed": int(os.environ.get("PL_GLOBAL_SEED", 0))}
        facts |= {"precision": str(self.trainer.precision), "devices": self.trainer.world_size}
        data = getattr(self.trainer, "datamodule", None)
        return {**facts, **self.facts, **(data.provenance() if data is not None else {})}
