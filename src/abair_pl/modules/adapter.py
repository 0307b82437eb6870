"""Phase II: one adapter for one degradation, everything else frozen."""

from pathlib import Path
from typing import Any

from torch import Tensor

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle, check_target, save_adapter
from abair_pl.losses import BalancedRestorationLoss
from abair_pl.models.adapters import AdapterMethod, LoRA, attach_adapter, check_adapter_name
from abair_pl.modules.base import RestorationModule, StepResult
from abair_pl.modules.execution import ExecutionConfig
from abair_pl.modules.guard import GuardConfig
from abair_pl.modules.optimization import OptimizationConfig


class AdapterModule(RestorationModule):
    """An adapter on every 1x1 convolution in the blocks of a frozen backbone (paper, phase II).

    Args:
        init_from: The bundle with the backbone of phase I; an adapter of this name, made the same way, is the start.
        save_to: The bundle that the adapter is added to; it starts as a copy of ``init_from``.
        degradation: What the adapter is for, and its name; one that is new to the bundle is welcome.
        adapter: How the adapter is made: LoRA (as in the paper), VeRA, ConvLoRA, or a class of one's own.
        optimization: How weights are trained.
        guard: What is done about steps that go wrong.
        execution: Compilation and activation checkpointing.

    Raises:
        InputError: The name cannot be an adapter's.
    """

    bundle: Bundle

    def __init__(
        self,
        init_from: Path,
        save_to: Path,
        degradation: str,
        adapter: AdapterMethod = LoRA(),  # noqa: B008 - frozen
        optimization: OptimizationConfig = OptimizationConfig(),  # noqa: B008 - frozen
        guard: GuardConfig = GuardConfig(),  # noqa: B008 - frozen
        execution: ExecutionConfig = ExecutionConfig(),  # noqa: B008 - frozen
    ) -> None:
        check_adapter_name(degradation)
        bundle = Bundle.open(init_from)
        backbone = bundle.config.backbone_sha256
        identity = {"degradation": degradation, "backbone": backbone, "adapter": adapter.settings()}
        super().__init__(optimization, save_to, identity, guard)
        self.bundle = bundle
        self.adapter = adapter
        self.part = f"adapters/{degradation}"
        self.degradations = [degradation]
        self.has_weights = bundle.config.adapters.get(degradation) == adapter
        start = bundle.adapter_folder(degradation) if self.has_weights else None
        self.restorer = attach_adapter(bundle.backbone(), degradation, adapter, backbone, start)
        execution.apply_to(self.restorer)
        self.restoration_loss = BalancedRestorationLoss(2)
        self.make_metrics()

    @property
    def phase(self) -> str:
        return f"adapter/{self.degradations[0]}"

    def is_trained(self, name: str) -> bool:
        return any(part in name for part in self.adapter.trained)

    def check_save_to(self) -> None:
        check_target(self.save_to, self.bundle)

    def restore(self, degraded: Tensor) -> Tensor:
        restored: Tensor = self.restorer(degraded)
        return restored

    def training_result(self, batch: RestorationBatch) -> StepResult:
        return StepResult(self.restoration_loss(self.restore(batch.degraded), batch.clean, batch.labels))

    def save_bundle(self, provenance: dict[str, Any]) -> None:
        name = self.degradations[0]
        save_adapter(self.save_to, self.bundle, name, self.restorer, self.adapter, provenance)
