"""What ranks tell each other without a collective call, so that none ever waits for one that does not come."""

import json
import logging
from datetime import timedelta
from typing import Any

from torch import distributed

WAIT = timedelta(seconds=60)
_log = logging.getLogger(__name__)


def gather(name: str, value: Any, rank: int, world_size: int) -> list[Any] | None:
    """What each rank said under a name.

    Args:
        name: Not used before; the same on all ranks.
        value: What this rank says, as JSON has it.
        rank: This process's rank.
        world_size: Number of processes.

    Returns:
        On rank 0 the values in the order of the ranks. None on the others, which do not wait, and on rank 0 where
        one of them said nothing within a minute.
    """
    if world_size == 1:
        return [value]
    store = distributed.distributed_c10d._get_default_store()
    keys = [f"abair_pl/{name}/{other}" for other in range(world_size)]
    store.set(keys[rank], json.dumps(value))
    if rank != 0:
        return None
    try:
        store.wait(keys, WAIT)
    except RuntimeError:
        _log.warning("%s: not all of %d ranks answered in %s s", name, world_size, WAIT.total_seconds())
        return None
    values = [json.loads(store.get(key)) for key in keys]
    for key in keys:
        store.delete_key(key)
    return values


def add(name: str, amount: int) -> int:
    """Add to a number that all ranks of a distributed run share.

    Args:
        name: The number's name; it begins as 0.
        amount: What to add.

    Returns:
        The sum so far.
    """
    return int(distributed.distributed_c10d._get_default_store().add(f"abair_pl/{name}", amount))


def first_to_say(name: str, text: str, rank: int) -> tuple[int, str]:
    """Say something that only the first rank's word counts of.

    Args:
        name: What it is about.
        text: What this rank has to say.
        rank: This process's rank.

    Returns:
        The rank that was the first, and what it said; this one, where the others cannot be reached.
    """
    try:
        store = distributed.distributed_c10d._get_default_store()
        said = store.compare_set(f"abair_pl/{name}", "", f"{rank} {text}").decode()
    except RuntimeError:
        return rank, text
    first, _, words = said.partition(" ")
    return int(first), words
