"""Phase III: the estimator learns which adapters an image needs, everything else frozen."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.functional.classification import multiclass_calibration_error

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import ESTIMATOR_FILE, Bundle, check_target, save_estimator
from abair_pl.bundle_config import BundleConfig
from abair_pl.bundle_estimator import estimator_to_train
from abair_pl.errors import InputError, unknown_name
from abair_pl.models.calibration import Calibration, fit_calibration
from abair_pl.models.weights import blend_weights, keep_clean
from abair_pl.modules.base import RestorationModule, StepResult
from abair_pl.modules.guard import GuardConfig
from abair_pl.modules.logits import GatheredLogits
from abair_pl.modules.optimization import OptimizationConfig

_CALIBRATION_BINS = 15  # as in Guo et al., ICML 2017


class EstimatorModule(RestorationModule):
    """The degradation estimator, and the blend of the adapters by what it finds (paper, phase III).

    Each validation fits its calibration anew, on all validation images as they are degraded, and as they are without.
    The bundle gets the last one; a run without validation leaves probabilities as they are and knows no ``unknown``.

    Args:
        init_from: The bundle with backbone and adapters; an estimator in it is the start, to which adapters that it has
            not seen are new.
        save_to: The bundle that the estimator is put into; it starts as a copy of ``init_from``.
        blend: How probabilities become weights: ``one_hot`` (OH) or ``soft`` (SW).
        restoration_weight: Weight of the L1 error of the blended restoration beside the classification; 0, as in the
            paper, saves the restoration in training.
        sharpness: The power of the probabilities in ``soft``, at least 1 (the paper's); the bundle keeps it, see
            :class:`~abair_pl.models.calibration.Calibration`. That of ``init_from`` if left out.
        bias: Added to the logits, by label such as ``{clean: 0.5}``, where images are named and restored; training and
            the fit of the calibration do without. Kept and left out like ``sharpness``; ``{}`` takes it away.
        optimization: How weights are trained.
        guard: What is done about steps that go wrong.

    Raises:
        InputError: The bundle has no adapters, or a bias is of none of them.
    """

    bundle: Bundle
    part = ESTIMATOR_FILE

    def __init__(
        self,
        init_from: Path,
        save_to: Path,
        blend: Literal["one_hot", "soft"] = "soft",
        restoration_weight: float = 0.0,
        sharpness: float | None = None,
        bias: dict[str, float] | None = None,
        optimization: OptimizationConfig = OptimizationConfig(),  # noqa: B008 - frozen
        guard: GuardConfig = GuardConfig(),  # noqa: B008 - frozen
    ) -> None:
        bundle = Bundle.open(init_from)
        names, backbone = list(bundle.config.adapters), bundle.config.backbone_sha256
        stored = _chosen(bundle.config, sharpness, bias)
        identity = {"adapters": names, "backbone": backbone, "blend": blend, "sharpness": stored.sharpness}
        identity |= {"bias": list(stored.bias), "restoration_weight": restoration_weight}
        super().__init__(optimization, save_to, identity, guard)
        self.bundle = bundle
        self.degradations = names
        if not self.degradations:
            message = f"{init_from} has no adapters; run phase II first: abair-pl fit --config configs/adapter.yaml"
            raise InputError(message)
        self.blend = blend
        self.uncalibrated = replace(stored, temperature=1.0, threshold=None)
        self.restoration_weight = restoration_weight
        self.restorer = bundle.blended()
        self.has_weights = bundle.estimator_is_current
        self.estimator = estimator_to_train(bundle.path, bundle.config)
        self.calibration = stored if self.has_weights else self.uncalibrated
        self.accuracy = MeanMetric()
        self.gathered = GatheredLogits()
        self.make_metrics()

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":  # which changes what the calibration was made for; a checkpoint is loaded later
            self.calibration = self.uncalibrated
            known = self.bundle.config.estimated
            if known and (new := [name for name in self.degradations if name not in known]):
                self.print(f"the estimator of {self.bundle.path} is the start; new to it: {', '.join(new)}")

    def is_trained(self, name: str) -> bool:
        return name.startswith("estimator.")

    def check_save_to(self) -> None:
        check_target(self.save_to, self.bundle, with_adapters=True)

    def restore(self, degraded: Tensor) -> Tensor:
        probabilities = self.calibration.probabilities(self.estimator(degraded))
        return self.blended(degraded, self.calibration.weights(probabilities, self.blend))

    def blended(self, degraded: Tensor, weights: Tensor) -> Tensor:
        """Restored images ``(B, 3, H, W)`` by the mixtures of ``(B, K)`` weights."""
        return keep_clean(degraded, self.restorer(degraded, weights), weights)

    def training_result(self, batch: RestorationBatch) -> StepResult:
        logits = self.estimator(batch.degraded).float()
        target = soft_target(batch.shares)
        classification = F.cross_entropy(logits, target)
        correct = (logits.argmax(dim=1) == target.argmax(dim=1)).float().mean()
        parts = {"classification": classification, "accuracy": correct}
        if self.restoration_weight == 0:
            return StepResult(classification, parts)
        probabilities = self.calibration.sharpened(logits.softmax(dim=1))
        weights = blend_weights(probabilities, self.blend)  # of what is called clean, too, or it would have no gradient
        restored = self.blended(batch.degraded, weights)
        parts["restoration"] = F.l1_loss(restored.float(), batch.clean)
        return StepResult(classification + self.restoration_weight * parts["restoration"], parts)

    def validation_step(self, batch: RestorationBatch, batch_idx: int) -> Tensor:
        restored = super().validation_step(batch, batch_idx)
        logits, labels = self.estimator(batch.degraded).float(), batch.labels[:, 0, 0]
        correct = self.calibration.biased(logits).argmax(dim=1) == labels
        self.accuracy.update(correct[batch.valid].float())
        self.gathered.update(logits[batch.valid], labels[batch.valid])
        once = batch.clean[_once(batch)]
        if len(once):
            self.gathered.update(self.estimator(once).float(), labels.new_zeros(len(once)))
        return restored

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        logits, labels = self.gathered.compute()
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.calibration = fit_calibration(logits, labels, self.uncalibrated)
        self.log("val/temperature", self.calibration.temperature, rank_zero_only=True)
        self.log_estimates("val", logits, labels)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.log_estimates("test", *self.gathered.compute())

    def log_estimates(self, stage: str, logits: Tensor, labels: Tensor) -> None:
        """Log ``<stage>/accuracy``, and the expected calibration error before and after the temperature, without bias.

        Args:
            stage: ``val`` or ``test``.
            logits: ``(N, K + 1)`` of all ranks.
            labels: ``(N,)`` int64.
        """
        fitted = replace(self.calibration, bias=())
        errors = {
            name: multiclass_calibration_error(
                calibration.probabilities(logits), labels, logits.shape[1], _CALIBRATION_BINS
            )
            for name, calibration in (("calibration_error_raw", Calibration()), ("calibration_error", fitted))
        }
        self.log(f"{stage}/accuracy", self.accuracy.compute(), prog_bar=stage == "val", rank_zero_only=True)
        self.log_dict({f"{stage}/{name}": value for name, value in errors.items()}, rank_zero_only=True)
        unknown = self.calibration.unknown(logits).float().mean()
        self.log(f"{stage}/unknown", unknown, rank_zero_only=True)
        self.accuracy.reset()
        self.gathered.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["calibration"] = asdict(self.calibration)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.calibration = Calibration(**checkpoint.get("calibration", asdict(self.uncalibrated)))

    def save_bundle(self, provenance: dict[str, Any]) -> None:
        save_estimator(self.save_to, self.bundle, self.estimator, provenance, self.calibration)


def _chosen(config: BundleConfig, sharpness: float | None, bias: Mapping[str, float] | None) -> Calibration:
    """The calibration of a bundle, for the adapters that it has now, with what is chosen anew."""
    stored, labels = config.calibration, ["clean", *config.adapters]
    by_label = dict(zip(["clean", *config.estimated], stored.bias, strict=False)) if bias is None else bias
    if bias is not None and (unknown := [name for name in bias if name not in labels]):
        raise unknown_name(unknown[0], "label", labels)
    made = tuple(by_label.get(label, 0.0) for label in labels)
    return replace(
        stored, sharpness=stored.sharpness if sharpness is None else sharpness, bias=made if any(made) else ()
    )


def _once(batch: RestorationBatch) -> list[int]:
    """A row of each photograph, which is there once with each degradation; several may have one key."""
    seen: Counter[tuple[str, int]] = Counter()
    rows: dict[tuple[str, int], int] = {}
    labels, valid = batch.labels[:, 0, 0].tolist(), batch.valid.tolist()
    for row, (key, label) in enumerate(zip(batch.keys, labels, strict=True)):
        if valid[row]:
            rows.setdefault((key, seen[key, label]), row)
            seen[key, label] += 1
    return list(rows.values())


def soft_target(shares: Tensor) -> Tensor:
    """What the estimator is to say: a distribution over clean and the degradations.

    Each counts by the area that it touches: a composite of rain and haze is half of each, a photograph with noise in
    a quarter of it three quarters clean.

    Args:
        shares: ``(B, K + 1)`` in [0, 1], the share of the image that is clean and that each degradation touches, see
            :class:`~abair_pl.batch.RestorationBatch`; with composites a row sums to more than 1.

    Returns:
        ``(B, K + 1)``, rows sum to 1.
    """
    return shares / shares.sum(dim=1, keepdim=True)
