"""What is looked at before the first batch: whether there are shards for all that is asked of them."""

from typing import Literal

from lightning.pytorch.utilities import rank_zero_warn

from abair_pl.data.manifest import NAMED_PAIRS
from abair_pl.data.streaming.beside import damages_of, layouts_of, samples_in
from abair_pl.data.streaming.sources import Source, is_remote
from abair_pl.data.synthesis import Synthesis
from abair_pl.errors import InputError, ShardError


def check_readers(sources: list[Source], ranks: int, workers: int) -> None:
    """See that every worker of every rank gets a shard of every source.

    Raises:
        ShardError: There are too few.
    """
    for source in sources:
        if len(source.shards) < ranks * workers:
            message = (
                f"{len(source.shards)} training shards in {source.name} for {ranks} ranks x {workers} workers; "
                f"expected at least {ranks * workers}: set --data.workers lower, or build with a smaller "
                "--samples-per-shard"
            )
            raise ShardError(message)


def check_measured(shards: list[str], readers: int) -> None:
    """See that there are samples to measure on; warn where each reader would download all of them.

    Args:
        shards: To validate or to test on.
        readers: Loader processes over all ranks that download for themselves.

    Raises:
        ShardError: A manifest is missing, or names no sample.
    """
    samples_in(shards)
    if readers > 1 and any(map(is_remote, shards)):
        rank_zero_warn(
            f"each of {readers} loader processes downloads all {len(shards)} shards to measure on, each time: "
            "download them once with --data.cache_dir"
        )


def check_complete(shards: list[str], use: Literal["train", "measure"], synthesis: Synthesis) -> None:
    """See that there is something to train or to measure every degradation on.

    Raises:
        ShardError: The shards mix photographs and pairs that name no degradation.
        InputError: There is nothing for one of several degradations.
    """
    layouts, names, shown = layouts_of(shards), synthesis.degradations, set(damages_of(shards).values())
    if len(names) < 2:  # which pairs show whatever their shards say
        return
    if layouts != {"paired"}:
        shown |= set(synthesis.synthesizer.names)
    missing = [name for name in names if name not in shown]
    if missing:
        message = (
            f"nothing to {use} {missing[0]} on: no photographs get it, and no pairs show it; expected photographs and "
            f"an operator for it, or {NAMED_PAIRS}"
        )
        raise InputError(message)
