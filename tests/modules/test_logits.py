from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from abair_pl.modules.logits import GatheredLogits

LOGITS = torch.arange(24.0).reshape(4, 6)
LABELS = torch.tensor([3, 0, 5, 1])


def test_batches_are_joined_and_reset_forgets_them() -> None:
    gathered = GatheredLogits()
    gathered.update(LOGITS[:1].bfloat16(), LABELS[:1])
    gathered.reset()
    for rows in (slice(0, 3), slice(3, 3), slice(3, 4)):
        gathered.update(LOGITS[rows], LABELS[rows])
    logits, labels = gathered.compute()
    assert torch.equal(logits, LOGITS)
    assert torch.equal(labels, LABELS)


def _gather(rank: int, folder: Path, counts: tuple[int, int]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    gathered = GatheredLogits()
    rows = slice(0, counts[0]) if rank == 0 else slice(counts[0], sum(counts))
    gathered.update(LOGITS[rows], LABELS[rows])
    torch.save(gathered.compute(), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("counts", [(3, 1), (4, 0)])
def test_ranks_may_have_seen_unequally_many(tmp_path: Path, counts: tuple[int, int]) -> None:
    start_processes(_gather, (tmp_path, counts), nprocs=2, start_method="fork")
    for rank in range(2):
        logits, labels = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(logits, LOGITS)
        assert torch.equal(labels, LABELS)
