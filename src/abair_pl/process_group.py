"""Leaving torch.distributed at the end of a command."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

from abair_pl.errors import AbairError


@contextmanager
def leaving_process_group() -> Iterator[None]:
    """Leave the group of processes at the end, if this is one of several; its threads have ended then.

    A thread of gloo that still lets go of its last message when the interpreter ends aborts the whole process, with
    SIGABRT in place of its exit status. After an unforeseen error, the group is left as it is: others may be waiting.
    """
    try:
        yield
    except (AbairError, SystemExit):
        _leave()
        raise
    _leave()


def _leave() -> None:
    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # a trainer that has ended may still hold the group
        distributed.destroy_process_group()
