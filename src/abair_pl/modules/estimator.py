"""Phase III: the estimator learns which adapters an image needs, everything else frozen."""

from pathlib import Path
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle, check_target, save_estimator
from abair_pl.errors import InputError
from abair_pl.models.blend import blend_weights
from abair_pl.models.estimator import Estimator
from abair_pl.modules.base import RestorationModule, StepResult
from abair_pl.modules.optimization import OptimizationConfig


class EstimatorModule(RestorationModule):
    """The degradation estimator, and the blend of the adapters by its probabilities (paper, phase III).

    Args:
        init_from: The bundle with backbone and adapters; an estimator of these adapters in it is the start.
        save_to: The bundle that the estimator is put into; it starts as a copy of ``init_from``.
        blend: How probabilities become weights: ``one_hot`` (OH) or ``soft`` (SW).
        restoration_weight: Weight of the L1 error of the blended restoration beside the classification; 0, as in the
            paper, saves the restoration in training.
        optimization: How weights are trained.

    Raises:
        InputError: The bundle has no adapters.
    """

    def __init__(
        self,
        init_from: Path,
        save_to: Path,
        blend: Literal["one_hot", "soft"] = "soft",
        restoration_weight: float = 0.0,
        optimization: OptimizationConfig = OptimizationConfig(),  # noqa: B008 - frozen
    ) -> None:
        bundle = Bundle.open(init_from)
        names, backbone = list(bundle.config.adapters), bundle.config.backbone_sha256
        identity = {"adapters": names, "backbone": backbone, "blend": blend, "restoration_weight": restoration_weight}
        super().__init__(optimization, save_to, identity)
        self.bundle = bundle
        self.degradations = names
        if not self.degradations:
            message = f"{init_from} has no adapters; run phase II first: abair-pl fit --config configs/adapter.yaml"
            raise InputError(message)
        self.blend = blend
        self.restoration_weight = restoration_weight
        self.restorer = bundle.blended()
        self.has_weights = bundle.config.estimated == names
        dim = bundle.config.architecture.estimator_dim
        self.estimator = bundle.estimator() if self.has_weights else Estimator(dim, len(names) + 1)
        self.accuracy = MeanMetric()
        self.make_metrics()

    def is_trained(self, name: str) -> bool:
        return name.startswith("estimator.")

    def check_save_to(self) -> None:
        check_target(self.save_to, self.bundle, with_adapters=True)

    def restore(self, degraded: Tensor) -> Tensor:
        probabilities = self.estimator(degraded).float().softmax(dim=1)
        restored: Tensor = self.restorer(degraded, blend_weights(probabilities, self.blend))
        return restored

    def training_result(self, batch: RestorationBatch) -> StepResult:
        logits = self.estimator(batch.degraded).float()
        target = batch.shares / batch.shares.sum(dim=1, keepdim=True)
        classification = F.cross_entropy(logits, target)
        correct = (logits.argmax(dim=1) == target.argmax(dim=1)).float().mean()
        parts = {"classification": classification, "accuracy": correct}
        if self.restoration_weight == 0:
            return StepResult(classification, parts)
        restored = self.restorer(batch.degraded, blend_weights(logits.softmax(dim=1), self.blend))
        parts["restoration"] = F.l1_loss(restored.float(), batch.clean)
        return StepResult(classification + self.restoration_weight * parts["restoration"], parts)

    def validation_step(self, batch: RestorationBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        correct = self.estimator(batch.degraded).argmax(dim=1) == batch.labels[:, 0, 0]
        self.accuracy.update(correct[batch.valid].float())

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("val/accuracy", self.accuracy.compute(), prog_bar=True, rank_zero_only=True)
        self.accuracy.reset()

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.log("test/accuracy", self.accuracy.compute())
        self.accuracy.reset()

    def save_bundle(self, provenance: dict[str, Any]) -> None:
        save_estimator(self.save_to, self.bundle, self.estimator, provenance)
