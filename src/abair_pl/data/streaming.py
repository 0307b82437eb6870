"""Streams of samples out of shards, in an order that is a function of (seed, epoch, rank, worker)."""

import itertools
import math
import random
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from abair_pl.batch import PhotoBatch
from abair_pl.data.augment import Augmentation
from abair_pl.data.decode import decode_sample
from abair_pl.degradations.random import combine
from abair_pl.errors import ImageError, ShardError

MAX_BROKEN_SHARE = 0.01
_MIN_SAMPLES_JUDGED = 200


@dataclass(frozen=True)
class PhotoSample:
    """One patch, as workers hand it to :func:`collate`; the fields are those of a batch."""

    clean: NDArray[np.uint8]
    degraded: NDArray[np.uint8] | None
    key: str
    seed: int
    valid: bool = True


def read_samples(shards: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The undecoded samples of shards, one after the other.

    Raises:
        ShardError: A shard cannot be opened, is damaged, or is cut short.
    """
    for shard in shards:
        try:
            # Not closed here: webdataset's streams close when they are dropped, and forgive a process read in part.
            with tarfile.open(fileobj=wds.gopen(shard), mode="r|*", tarinfo=_WholeHeader) as archive:
                yield from wds.tariterators.group_by_keys(_members(archive, shard))
        except (tarfile.TarError, OSError, ValueError) as error:
            message = f"{shard}: not a readable shard ({error}); expected a whole .tar file: copy or build it again"
            raise ShardError(message) from error


class _WholeHeader(tarfile.TarInfo):
    """A header that tells damage from the end of the archive, where tarfile stops silently at either."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            message = f"{error} where a file or the end of the archive was expected"
            raise tarfile.ReadError(message) from error


def _members(archive: tarfile.TarFile, shard: str) -> Iterator[dict[str, Any]]:
    """The files of a shard, in webdataset's words."""
    for entry in archive:
        file = archive.extractfile(entry) if entry.isreg() else None
        if file is not None:
            yield {"__url__": shard, "fname": entry.name, "data": file.read()}


def _cut(sample: dict[str, Any], augmentation: Augmentation, seed: int) -> PhotoSample:
    decoded = decode_sample(sample)
    clean = decoded["image"] if "image" in decoded else decoded["target"]
    patch, partner = augmentation(clean, decoded.get("input"), seed)
    return PhotoSample(patch, partner, decoded["key"], seed)


def _slot(rank: int, world_size: int) -> tuple[int, int]:
    """This worker's index among all workers of all ranks, and how many there are."""
    worker = get_worker_info()
    if worker is None:
        return rank, world_size
    return rank * worker.num_workers + worker.id, world_size * worker.num_workers


class TrainStream(IterableDataset[PhotoSample]):
    """An endless stream of random patches.

    In each epoch the shards are permuted by (seed, epoch) and dealt to the workers of all ranks, which read disjoint
    shards, mix their samples in a buffer, and cut a patch by a seed made of the epoch and the sample's key.

    Args:
        shards: Paths or URLs.
        augmentation: Cuts the patches.
        seed: The seed of the order and of the patches.
        rank: This process's rank.
        world_size: Number of processes.
        buffer: Number of undecoded samples that are mixed.
    """

    def __init__(
        self, shards: list[str], augmentation: Augmentation, seed: int, rank: int, world_size: int, buffer: int
    ) -> None:
        super().__init__()
        self.shards = shards
        self.augmentation = augmentation
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.buffer = buffer

    def __iter__(self) -> Iterator[PhotoSample]:
        slot, slots = _slot(self.rank, self.world_size)
        read = broken = 0
        for epoch in itertools.count():
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.shards))
            mine = [self.shards[index] for index in order[slot::slots]]
            mixer = random.Random(combine(self.seed, epoch, slot))  # noqa: S311 - order of samples, not a secret
            for sample in wds.filters.shuffle(self.buffer, rng=mixer)(read_samples(mine)):
                read += 1
                seed = combine(self.seed, epoch, zlib.crc32(sample["__key__"].encode()))
                try:
                    yield _cut(sample, self.augmentation, seed)
                except ImageError as error:
                    broken += 1
                    if read >= _MIN_SAMPLES_JUDGED and broken > MAX_BROKEN_SHARE * read:
                        message = f"{broken} of {read} samples cannot be decoded, the last: {error}"
                        raise ShardError(message) from error


class ExactStream(IterableDataset[PhotoSample]):
    """Each sample once over all ranks, cut at the centre; all ranks and workers give equally many.

    Where the samples cannot be dealt evenly, a worker repeats one with ``valid=False``, so that no rank waits for
    another in a collective call.

    Args:
        shards: Paths or URLs.
        samples: Number of samples in them.
        augmentation: Cuts the centres.
        seed: The seed of the degradations.
        rank: This process's rank.
        world_size: Number of processes.
    """

    def __init__(
        self, shards: list[str], samples: int, augmentation: Augmentation, seed: int, rank: int, world_size: int
    ) -> None:
        super().__init__()
        self.shards = shards
        self.samples = samples
        self.augmentation = augmentation
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[PhotoSample]:
        slot, slots = _slot(self.rank, self.world_size)
        share = math.ceil(self.samples / slots)
        given = 0
        spare: dict[str, Any] | None = None
        for index, sample in enumerate(read_samples(self.shards)):
            spare = spare or sample
            if index % slots == slot:
                given += 1
                yield self._cut(sample)
        for _ in range(share - given):
            if spare is None:
                message = f"the shards {self.shards} hold no sample"
                raise ShardError(message)
            filler = self._cut(spare)
            yield PhotoSample(filler.clean, filler.degraded, filler.key, filler.seed, valid=False)

    def _cut(self, sample: dict[str, Any]) -> PhotoSample:
        return _cut(sample, self.augmentation, combine(self.seed, zlib.crc32(sample["__key__"].encode())))


def collate(samples: list[PhotoSample]) -> PhotoBatch:
    """Stack samples to a batch.

    Raises:
        ShardError: Some samples are pairs and some are not.
    """
    partners = [sample.degraded for sample in samples if sample.degraded is not None]
    if partners and len(partners) < len(samples):
        message = "shards mix pairs and single photographs; expected one layout for one setting"
        raise ShardError(message)
    return PhotoBatch(
        clean=_stack([sample.clean for sample in samples]),
        degraded=_stack(partners) if partners else None,
        keys=tuple(sample.key for sample in samples),
        seeds=torch.tensor([sample.seed for sample in samples]),
        valid=torch.tensor([sample.valid for sample in samples]),
    )


def _stack(images: list[NDArray[np.uint8]]) -> torch.Tensor:
    """``(B, 3, H, W)`` from ``(H, W, 3)`` arrays."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
