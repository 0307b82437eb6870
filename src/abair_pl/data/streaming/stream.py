"""Streams of samples out of shards, in an order that is a function of (seed, epoch, rank, worker)."""

import hashlib
import itertools
import logging
import math
from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Any

import numpy as np
import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from abair_pl.batch import Position
from abair_pl.data.augment import Augmentation, Patch
from abair_pl.data.decode import decode_sample
from abair_pl.data.streaming.archive import read_samples
from abair_pl.data.streaming.collate import PhotoSample
from abair_pl.data.streaming.fetch import ShardOpener
from abair_pl.data.streaming.progress import Progress
from abair_pl.data.streaming.sources import Source
from abair_pl.errors import ImageError, ShardError

_MIN_SAMPLES_JUDGED = 200
_WARNINGS = 5
_log = logging.getLogger(__name__)


def _cut(sample: dict[str, Any], augmentation: Augmentation, seed: int, damages: Mapping[str, str]) -> PhotoSample:
    decoded = decode_sample(sample)
    clean = decoded["image"] if "image" in decoded else decoded["target"]
    patch = augmentation(Patch(clean, decoded.get("input"), decoded.get("depth")), seed)
    return PhotoSample(patch, decoded["key"], seed, damage=damages.get(sample["__url__"], ""))


def _seed(*parts: int | str) -> int:
    """A seed in [0, 2**53) out of several facts; equal on all machines."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 11


def _worker() -> tuple[int, int]:
    """This process's number among the loader's workers of its rank, and how many there are."""
    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)


@dataclass
class BrokenSamples:
    """Counts what cannot be decoded, names the first few, and gives up at too many.

    Attributes:
        max_share: The largest share of broken samples, judged from 200 samples on.
        read: Samples read.
        broken: How many of them could not be decoded.
    """

    max_share: float
    read: int = 0
    broken: int = 0

    def leave_out(self, sample: dict[str, Any], error: ImageError) -> None:
        """Count a sample that cannot be decoded.

        Raises:
            ShardError: There are too many.
        """
        self.broken += 1
        if self.broken <= _WARNINGS:
            last = "; more are only counted, as data/broken" if self.broken == _WARNINGS else ""
            _log.warning("sample %s of %s is left out: %s%s", sample["__key__"], sample["__url__"], error, last)
        if self.read >= _MIN_SAMPLES_JUDGED and self.broken > self.max_share * self.read:
            message = (
                f"{self.broken} of {self.read} samples cannot be decoded, the last {sample['__key__']} of "
                f"{sample['__url__']} ({error}); expected at most {self.max_share:.2%}: check the shards with: "
                "abair-pl shards verify, or allow more with --data.max_broken_share"
            )
            raise ShardError(message) from error


class TrainStream(IterableDataset[PhotoSample]):
    """An endless stream of random patches.

    In each epoch the shards of a source are permuted by (seed, epoch) and dealt to the workers of all ranks, which read
    disjoint shards, mix their samples in a buffer, and cut a patch by a seed made of the epoch and the sample's key.
    Where there are several sources, each sample is drawn from one of them by its weight; each has epochs of its own.

    Args:
        sources: What to draw from.
        augmentation: Cuts the patches.
        seed: The seed of the order and of the patches.
        rank: This process's rank.
        world_size: Number of processes.
        buffer: Number of undecoded samples that are mixed, over all sources.
        open_shard: Opens the shards.
        max_broken_share: Largest share of samples that may be left out because they cannot be decoded.
        progress: Where to go on; read when an iteration begins.
        damages: What the pairs in shards show, see :func:`~abair_pl.data.streaming.beside.damages_of`.
    """

    def __init__(
        self,
        sources: list[Source],
        augmentation: Augmentation,
        seed: int,
        rank: int,
        world_size: int,
        buffer: int,
        open_shard: ShardOpener,
        max_broken_share: float,
        progress: Progress,
        damages: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.sources = sources
        self.augmentation = augmentation
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.buffer = buffer
        self.open_shard = open_shard
        self.max_broken_share = max_broken_share
        self.progress = progress
        self.damages = dict(damages)

    def __iter__(self) -> Iterator[PhotoSample]:
        number, workers = _worker()
        worker = (number + self.progress.next_worker) % workers
        slot, slots = self.rank * workers + worker, self.world_size * workers
        start = self.progress.of(worker, len(self.sources))
        at = list(start.sources)
        feeds = [self._feed(index, slot, slots, *at[index]) for index in range(len(self.sources))]
        bounds = list(itertools.accumulate(source.weight for source in self.sources))[:-1]
        choices = _seed(self.seed, slot)
        count = BrokenSamples(self.max_broken_share)
        for drawn in itertools.count(start.drawn):
            chosen = bisect(bounds, Random(choices + drawn).random()) if bounds else 0  # noqa: S311 - no secret
            broken = count.broken
            for epoch, index, sample in feeds[chosen]:
                at[chosen] = (epoch, index)
                count.read += 1
                try:
                    seed = _seed(self.seed, epoch, sample["__key__"])
                    patch = _cut(sample, self.augmentation, seed, self.damages)
                except ImageError as error:
                    count.leave_out(sample, error)
                    continue
                position = Position(worker, drawn + 1, tuple(at))
                yield replace(patch, position=position, broken=count.broken - broken)
                break

    def _feed(
        self, number: int, slot: int, slots: int, first_epoch: int, skipped: int
    ) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """A worker's share of a source without end: the epoch, how many samples were read in it, and the sample."""
        source = self.sources[number]
        buffer = math.ceil(self.buffer * source.weight)
        for epoch in itertools.count(first_epoch):
            order = np.random.default_rng([self.seed, epoch, number]).permutation(len(source.shards))
            mine = [source.shards[index] for index in order[slot::slots]]
            mixer = Random(_seed(self.seed, epoch, slot, number))  # noqa: S311 - order of samples, not a secret
            mixed = wds.filters.shuffle(buffer, rng=mixer)(read_samples(mine, self.open_shard))
            index = 0
            for index, sample in enumerate(mixed, 1):
                if index > skipped:
                    yield epoch, index, sample
            if index == 0:
                message = f"the shards of {source.name} that worker {slot} of {slots} reads hold no sample"
                raise ShardError(message)
            skipped = 0


class ExactStream(IterableDataset[PhotoSample]):
    """Each sample once over all ranks, cut at the centre; all ranks and workers give equally many.

    Where the samples cannot be dealt evenly, a worker repeats one with ``valid=False``, so that no rank waits for
    another in a collective call.

    A sample that cannot be decoded is an error, on the rank that reads it: the others may wait for that one in a
    collective call until the launcher ends them, or the process group's timeout does (``timeout`` of DDPStrategy).

    Args:
        shards: Paths or URLs.
        samples: Number of samples in them.
        augmentation: Cuts the centres.
        seed: The seed of the degradations.
        rank: This process's rank.
        world_size: Number of processes.
        open_shard: Opens the shards.
        damages: What the pairs in shards show, see :func:`~abair_pl.data.streaming.beside.damages_of`.
    """

    def __init__(
        self,
        shards: list[str],
        samples: int,
        augmentation: Augmentation,
        seed: int,
        rank: int,
        world_size: int,
        open_shard: ShardOpener,
        damages: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.shards = shards
        self.samples = samples
        self.augmentation = augmentation
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.open_shard = open_shard
        self.damages = dict(damages)

    def __iter__(self) -> Iterator[PhotoSample]:
        worker, workers = _worker()
        slot, slots = self.rank * workers + worker, self.world_size * workers
        share = math.ceil(self.samples / slots)
        given = found = 0
        spare: dict[str, Any] | None = None
        for found, sample in enumerate(read_samples(self.shards, self.open_shard), 1):
            spare = spare or sample
            if (found - 1) % slots == slot and found <= self.samples:
                given += 1
                yield self._cut(sample)
        if spare is None or found != self.samples:
            message = (
                f"the shards {self.shards[0]} to {self.shards[-1]} hold {found} samples, their manifests "
                f"{self.samples}; expected the same, and at least one: build them again"
            )
            raise ShardError(message)
        for _ in range(share - given):
            yield replace(self._cut(spare), valid=False)

    def _cut(self, sample: dict[str, Any]) -> PhotoSample:
        try:
            return _cut(sample, self.augmentation, _seed(self.seed, sample["__key__"]), self.damages)
        except ImageError as error:
            message = f"{sample['__url__']}: {error}; measures are of all samples, so none is left out: build it again"
            raise ShardError(message) from error
