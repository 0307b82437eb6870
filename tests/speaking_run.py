"""Fails in two processes as ``abair-pl fit`` does, and writes down what each says."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from abair_pl import training
from abair_pl.cli import main
from abair_pl.errors import InputError, TrainingError

RANK = int(os.environ.get("RANK", "0"))


def wait_for_word() -> None:
    """Until another rank has said something."""
    distributed.distributed_c10d._get_default_store().wait(["abair_pl/error"])


def same(rank: int) -> None:
    if rank == 1:
        wait_for_word()
    raise InputError("all\nof us")  # noqa: EM101


def same_late(rank: int) -> None:
    if rank == 0:
        wait_for_word()
    raise InputError("all of us")  # noqa: EM101


def alone(rank: int) -> None:
    if rank == 1:
        raise TrainingError("me alone")  # noqa: EM101


def alone_zero(rank: int) -> None:
    if rank == 0:
        raise TrainingError("me alone")  # noqa: EM101


def different(rank: int) -> None:
    if rank == 0:
        wait_for_word()
    message = f"rank {rank}'s own"
    raise InputError(message)


def lost(rank: int) -> None:
    """Rank 1 ends while the other waits for it."""
    alone(rank)
    distributed.all_reduce(torch.ones(1))


CASES = (same, same_late, alone, alone_zero, different, lost)


def run(case: Callable[[int], None], folder: Path) -> dict[str, Any]:
    store = distributed.FileStore(str(folder / f"{case.__name__}.store"), 2)  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=RANK, world_size=2)
    training.AbairCLI = lambda *_, **__: case(RANK)  # type: ignore[assignment, misc]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(["fit"])
    return {"status": status, "said": said.getvalue().splitlines()}


if __name__ == "__main__":
    found = {}
    for each in CASES:
        found[each.__name__] = run(each, Path(sys.argv[1]))
    (Path(sys.argv[1]) / f"rank{RANK}.json").write_text(json.dumps(found))
    os._exit(0)  # and leave the other alone
