"""Phase I: the backbone learns all degradations at once, from clean photographs."""

from pathlib import Path
from typing import Any

from torch import Tensor

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import BACKBONE_FILE, Bundle, save_backbone
from abair_pl.bundle_output import check_output
from abair_pl.degradations import PAPER_FIVE
from abair_pl.errors import InputError
from abair_pl.losses import BalancedRestorationLoss, RestorationLoss, segmentation_loss
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config
from abair_pl.modules.base import RestorationModule, StepResult
from abair_pl.modules.execution import ExecutionConfig
from abair_pl.modules.guard import GuardConfig
from abair_pl.modules.optimization import OptimizationConfig


class PretrainModule(RestorationModule):
    """Backbone and segmentation head on photographs with synthetic degradations (paper, phase I).

    Args:
        save_to: The bundle that is written when training ends.
        preset: Size of the network: tiny, small or paper.
        degradations: In the order of the labels; the paper's five if left out.
        init_from: A bundle of the same preset and degradations whose backbone is trained further.
        loss: ``l1``, ``charbonnier`` or ``l2``, see :class:`~abair_pl.losses.BalancedRestorationLoss`.
        loss_floors: Errors, at the first and the last step, below which a degradation pulls less; see there.
        segmentation_weight: Weight of the segmentation loss beside the restoration loss.
        optimization: How weights are trained.
        guard: What is done about steps that go wrong.
        execution: Compilation and activation checkpointing.

    Raises:
        InputError: The preset is not known, or ``init_from`` does not fit it.
    """

    part = BACKBONE_FILE

    def __init__(
        self,
        save_to: Path,
        preset: str = "small",
        degradations: list[str] | None = None,
        init_from: Path | None = None,
        loss: RestorationLoss = "l1",
        loss_floors: tuple[float, float] | None = None,
        segmentation_weight: float = 0.1,
        optimization: OptimizationConfig = OptimizationConfig(),  # noqa: B008 - frozen
        guard: GuardConfig = GuardConfig(),  # noqa: B008 - frozen
        execution: ExecutionConfig = ExecutionConfig(),  # noqa: B008 - frozen
    ) -> None:
        names = list(degradations or PAPER_FIVE)
        restoration_loss = BalancedRestorationLoss(len(names) + 1, loss, loss_floors)
        identity = {"preset": preset, "degradations": names, "segmentation_weight": segmentation_weight}
        identity |= {"loss": loss, "loss_floors": list(restoration_loss.floors)}
        super().__init__(optimization, save_to, identity, guard)
        self.preset = preset
        self.degradations = names
        self.segmentation_weight = segmentation_weight
        architecture = preset_config(preset)
        if segmentation_weight and not architecture.head_dim:
            message = f"preset {preset} has no segmentation head; expected --model.segmentation_weight 0"
            raise InputError(message)
        labels = len(self.degradations) + 1
        if init_from is None:
            self.backbone = Backbone(architecture, labels)
        else:
            bundle = Bundle.open(init_from)
            if bundle.config.architecture != architecture or bundle.config.degradations != self.degradations:
                message = (
                    f"{init_from} has preset {bundle.config.preset} for {bundle.config.degradations}; "
                    f"expected {preset} for {self.degradations}: set --model.preset and --model.degradations to match"
                )
                raise InputError(message)
            self.bundle = bundle
            self.backbone = bundle.backbone()
            self.has_weights = True
        execution.apply_to(self.backbone)
        self.restoration_loss = restoration_loss
        self.make_metrics()

    def is_trained(self, name: str) -> bool:
        return name.startswith("backbone.")

    def check_save_to(self) -> None:
        check_output(self.save_to)

    def restore(self, degraded: Tensor) -> Tensor:
        restored: Tensor = self.backbone(degraded)
        return restored

    def shown_labels(self, batch: RestorationBatch) -> Tensor:
        if self.backbone.segmentation_head is None:
            return super().shown_labels(batch)
        return self.backbone.segment(self.backbone.encode(batch.degraded)).argmax(dim=1)

    def training_result(self, batch: RestorationBatch) -> StepResult:
        encoding = self.backbone.encode(batch.degraded)
        restored = self.backbone.decode(encoding)
        restoration = self.restoration_loss(restored, batch.clean, batch.labels, self.progress)
        if self.backbone.segmentation_head is None:
            return StepResult(restoration)
        logits = self.backbone.segment(encoding)
        segmentation = segmentation_loss(logits, batch.labels)
        accuracy = (logits.argmax(dim=1) == batch.labels).float().mean()
        parts = {"restoration": restoration, "segmentation": segmentation, "segmentation_accuracy": accuracy}
        return StepResult(restoration + self.segmentation_weight * segmentation, parts)

    def save_bundle(self, provenance: dict[str, Any]) -> None:
        save_backbone(self.save_to, self.backbone, self.preset, self.degradations, provenance)
