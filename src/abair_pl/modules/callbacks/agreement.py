"""Whether all ranks still train the same weights."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from abair_pl.errors import TrainingError


class RankAgreement(Callback):
    """Compares a hash of the trained weights and the step of all ranks, when training starts and every few steps.

    Gradients are averaged over ranks; where that fails for a weight, as for one that was unfrozen too late, ranks go
    apart without a sign of it.

    Args:
        every_n_steps: Optimizer steps between two comparisons; 0 turns them off.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare, for a rank may have read another checkpoint."""
        if self.every_n_steps and trainer.world_size > 1:
            self._compare(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare where it is time."""
        step, every = trainer.global_step, self.every_n_steps
        if every and trainer.world_size > 1 and step % every == 0 and not trainer.fit_loop._should_accumulate():
            self._compare(trainer, pl_module)

    def _compare(self, trainer: L.Trainer, module: nn.Module) -> None:
        step = torch.tensor([trainer.global_step], device=trainer.strategy.root_device)
        hashes = trainer.strategy.all_gather(torch.cat([step, weight_hashes(module).to(step.device)]))
        differs = (hashes != hashes[0]).cpu()
        if not differs.any():
            return
        rank = int(differs.any(dim=1).nonzero()[0])
        first = int(differs[rank].nonzero()[0])
        names = ["the step", *(name for name, value in module.named_parameters() if value.requires_grad)]
        message = (
            f"rank {rank} has gone apart from rank 0 at step {trainer.global_step}, first in {names[first]}; expected "
            "the same weights on all ranks: go on from an earlier checkpoint with --ckpt_path, and see that all nodes "
            "run the same code and read the same files"
        )
        raise TrainingError(message)


@torch.no_grad()
def weight_hashes(module: nn.Module) -> Tensor:
    """A hash of the bits of each trained parameter, in their order: ``(P,)`` int64."""
    hashes = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            bits = parameter.detach().float().flatten().view(torch.int32).long()
            places = torch.arange(1, len(bits) + 1, device=bits.device)
            hashes.append((bits * (2 * places + 1)).sum())
    return torch.stack(hashes)
