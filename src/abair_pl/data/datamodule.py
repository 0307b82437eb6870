"""The LightningDataModule: shards on the CPU, degradations on the device."""

import hashlib
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import cv2
import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from abair_pl.batch import PhotoBatch, RestorationBatch
from abair_pl.data.augment import Augmentation
from abair_pl.data.batch_split import BatchSplit, TrainerOfSplit, split_batch
from abair_pl.data.checks import check_complete, check_measured, check_readers
from abair_pl.data.manifest import MANIFEST_NAME, file_sha256
from abair_pl.data.streaming.beside import damages_of, digest_of, layouts_of, samples_in
from abair_pl.data.streaming.collate import PhotoSample, collate
from abair_pl.data.streaming.fetch import ShardOpener
from abair_pl.data.streaming.resume import StreamRecord
from abair_pl.data.streaming.sources import Source, Sources, expand_shards, expand_sources, facts_of, is_remote
from abair_pl.data.streaming.stream import ExactStream, TrainStream
from abair_pl.data.synthesis import Synthesis, SynthesisConfig
from abair_pl.errors import InputError
from abair_pl.stopwatch import Stopwatch, TimedLoader

_LEAST = {"batch_size": 1, "patch_px": 1, "val_patch_px": 11, "shuffle_buffer": 1, "workers": 0, "seed": 0}


class RestorationDataModule(L.LightningDataModule):
    """Streams shards and degrades them on the device.

    Which degradations are made is the module's to say: its ``degradations`` in the order of the labels. Real pairs are
    of the one that their shards name; where these name none, they need a module with a single one.

    Args:
        train: Shards to train on: a folder, a path or URL (https, s3) with braces such as ``gld-{000000..000999}.tar``,
            a list, or a mapping from such sources to the weights by which they are mixed.
        val: Shards to validate on, with their manifest beside them. Every worker of every rank reads all of them, to
            measure each sample once; from URLs, set cache_dir. A broken sample ends the run: see :class:`ExactStream`.
        test: Shards to test on; those of ``val`` if left out.
        batch_size: Photographs in an optimizer step, over all devices and accumulated batches together.
        device_batch_size: The most photographs that a device takes at once; what is over is accumulated. No limit if
            left out. Whatever the split, trainer.val_check_interval counts optimizer steps.
        patch_px: Side of the training patches.
        val_patch_px: Side of the centre crops that validation measures.
        workers: Loader processes for each device.
        shuffle_buffer: Samples that a worker mixes.
        seed: Seed of order, patches and degradations.
        synthesis: How training photographs are degraded.
        cache_dir: Folder on a local disk where downloaded shards are kept; without it, each is downloaded whenever it
            is read.
        cache_gb: What they may take there, in 10^9 bytes; the least recently used go first. No limit if left out.
        allow_pipe: Whether sources of the kind ``pipe:COMMAND`` may run shell commands.
        max_broken_share: Largest share of training samples that may be left out because they cannot be decoded,
            judged by each worker from 200 samples on.
    """

    def __init__(
        self,
        train: Sources,
        val: str | list[str],
        test: str | list[str] | None = None,
        batch_size: int = 32,
        device_batch_size: int | None = None,
        patch_px: int = 128,
        val_patch_px: int = 256,
        workers: int = 4,
        shuffle_buffer: int = 1000,
        seed: int = 0,
        synthesis: SynthesisConfig = SynthesisConfig(),  # noqa: B008 - frozen
        cache_dir: Path | None = None,
        cache_gb: float | None = None,
        allow_pipe: bool = False,
        max_broken_share: float = 0.01,
    ) -> None:
        super().__init__()
        self.train = train
        self.val = val
        self.test = test
        self.batch_size = batch_size
        self.device_batch_size = device_batch_size
        self.patch_px = patch_px
        self.val_patch_px = val_patch_px
        self.workers = workers
        self.shuffle_buffer = shuffle_buffer
        self.seed = seed
        self.synthesis = synthesis
        self.max_broken_share = max_broken_share
        self.open_shard = ShardOpener(cache_dir, cache_gb, allow_pipe)
        self.stopwatch = Stopwatch()
        self._made: Synthesis | None = None
        self._record = StreamRecord()
        self._split = TrainerOfSplit()
        least = _LEAST if device_batch_size is None else {**_LEAST, "device_batch_size": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                message = f"data.{name} is {getattr(self, name)}; expected at least {value}"
                raise InputError(message)
        if not 0.0 <= max_broken_share <= 1.0:
            message = f"data.max_broken_share is {max_broken_share}; expected a share in [0, 1]"
            raise InputError(message)
        if cache_gb is not None and (cache_dir is None or cache_gb <= 0):
            message = f"data.cache_gb is {cache_gb}; expected a positive number together with data.cache_dir"
            raise InputError(message)

    def setup(self, stage: str) -> None:
        """Take over what the module asks for, and check the shards and the synthesis before the first batch."""
        if self.trainer is not None:
            module: Any = self.trainer.lightning_module
            measured = self._expanded(self.val if stage in ("fit", "validate") else self.test or self.val)
            trained = self._trained() if stage == "fit" else []
            self.prepare_synthesis(module.degradations, {*damages_of([*trained, *measured]).values()})
            if stage == "fit":
                self._record = StreamRecord()
                check_readers(self._sources(), self._world_size, max(self.workers, 1))
                split = self._split_batch()
                self._split.set_up(self.trainer, split)
                rank_zero_info(str(split))
                check_complete(trained, "train", self.made)
                if layouts_of(trained) != {"paired"}:
                    _ = self.made.synthesizer
                    if self.made.left_out:
                        names = ", ".join(self.made.left_out)
                        rank_zero_info(f"left out, as the module has not all of their degradations: {names}")
            readers = self._world_size * max(self.workers, 1)
            check_measured(measured, readers if self.open_shard.cache_dir is None else 1)
            if stage != "predict":
                check_complete(measured, "measure", self.made)

    def prepare_synthesis(self, degradations: list[str], in_pairs: Collection[str] = ()) -> None:
        """Say what is to be synthesized: names in the order of the labels, and which of them pairs show."""
        self._made = Synthesis(self.synthesis, degradations, in_pairs)

    @property
    def made(self) -> Synthesis:
        """What degrades the batches.

        Raises:
            InputError: It is not known yet what is to be synthesized.
        """
        if self._made is None:
            message = "no degradations are set; expected at least one: pass a module's to prepare_synthesis()"
            raise InputError(message)
        return self._made

    def _sources(self) -> list[Source]:
        return expand_sources(self.train, self.open_shard.allow_pipe)

    def _trained(self) -> list[str]:
        return [shard for source in self._sources() for shard in source.shards]

    def _expanded(self, source: str | list[str]) -> list[str]:
        return expand_shards(source, self.open_shard.allow_pipe)

    def _split_batch(self) -> BatchSplit:
        given = self._split.given(self.trainer) if self.trainer else 1
        return split_batch(self.batch_size, self._world_size, self.device_batch_size, given)

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _val_batch_size(self) -> int:
        given = self._split.given(self.trainer) if self.trainer else 1
        share = self.batch_size // (self._world_size * given)
        return max(min(share, self.device_batch_size or share) // 4, 1)  # each photograph is degraded in several ways

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def manifests(self, use: Literal["train", "val", "test"]) -> list[Path]:
        """The manifests beside the shards of a use, of those on this machine that have one."""
        if use == "train":
            shards = self._trained()
        else:
            shards = self._expanded(self.val if use == "val" else self.test or self.val)
        folders = sorted({str(Path(shard).parent) for shard in shards if not is_remote(shard)})
        return [file for folder in folders if (file := Path(folder, MANIFEST_NAME)).exists()]

    def provenance(self) -> dict[str, Any]:
        """Facts about the data for a bundle: where it came from, its licences, its manifests' digest, and the seed."""
        sources = self._sources()
        digests = "".join(map(file_sha256, self.manifests("train")))
        digest = hashlib.sha256(digests.encode()).hexdigest()[:16]
        facts = {"data_manifest": digest, "data_seed": self.seed, **facts_of(sources)}
        return {**facts, "batch_size": self.batch_size, "patch_px": self.patch_px}

    def train_dataloader(self) -> DataLoader[PhotoSample]:
        """An endless loader; the trainer counts steps. It goes on where training stands whenever it is iterated."""
        if self.trainer is not None:
            self._split.recount(self.trainer)
        stream = TrainStream(
            self._sources(),
            Augmentation(self.patch_px, random=True),
            self.seed,
            self._rank,
            self._world_size,
            self.shuffle_buffer,
            self.open_shard,
            self.max_broken_share,
            self._record.resume(self._stream_settings(), self._rank),
            damages_of(self._trained()),
        )
        # Workers take over the position when they start, so they are started anew for each iteration.
        return self._loader(stream, self._split_batch().each, persistent_workers=False, part="data")

    def _stream_settings(self) -> dict[str, Any]:
        """What the positions in a checkpoint depend on."""
        settings = {"seed": self.seed, "world_size": self._world_size, "workers": max(self.workers, 1)}
        sources = [[len(source.shards), source.weight, digest_of(source.shards)] for source in self._sources()]
        return {**settings, "shuffle_buffer": self.shuffle_buffer, "sources": sources}

    def state_dict(self) -> dict[str, Any]:
        """The position of the training stream on all ranks, for a checkpoint (Lightning calls this on each rank)."""
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1
        return {**self._record.state(self._stream_settings(), self._rank), "accumulated": accumulated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the position of a checkpoint when the training loader is made."""
        self._record.load(state_dict)
        self._split.load(state_dict.get("accumulated", 0))

    def _note(self, batch: PhotoBatch) -> None:
        """Remember how far training has come, for the next checkpoint."""
        if batch.position is not None and self.trainer is not None:
            self._record.note(batch.position, batch.broken, max(self.workers, 1), self.trainer)

    def val_dataloader(self) -> DataLoader[PhotoSample]:
        """Each validation photograph once over all ranks."""
        return self._exact_loader(self.val, self.val_patch_px, self._val_batch_size)

    def test_dataloader(self) -> DataLoader[PhotoSample]:
        """Each test photograph once over all ranks."""
        return self._exact_loader(self.test or self.val, self.val_patch_px, self._val_batch_size)

    def predict_dataloader(self) -> DataLoader[PhotoSample]:
        """The photographs of the test shards whole, as they are, one by one; pairs give their inputs."""
        return self._exact_loader(self.test or self.val, patch_px=None, batch_size=1)

    def _exact_loader(self, source: str | list[str], patch_px: int | None, batch_size: int) -> DataLoader[PhotoSample]:
        shards = self._expanded(source)
        augmentation = Augmentation(patch_px, random=False)
        count = samples_in(shards)
        place, damages = (self._rank, self._world_size), damages_of(shards)
        stream = ExactStream(shards, count, augmentation, self.seed, *place, self.open_shard, damages)
        return self._loader(stream, batch_size, persistent_workers=self.workers > 0, part=None)

    def _loader(
        self, stream: TrainStream | ExactStream, batch_size: int, persistent_workers: bool, part: str | None
    ) -> DataLoader[PhotoSample]:
        return TimedLoader(
            stream,
            batch_size,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=persistent_workers,
            worker_init_fn=_set_up_worker,
            generator=torch.Generator(),  # or each loader would take a number from the random state of the training
            stopwatch=self.stopwatch,
            part=part,
        )

    def on_after_batch_transfer(self, batch: PhotoBatch, dataloader_idx: int) -> RestorationBatch:
        """Degrade on the device, in float32: training by each sample's seed, evaluation with every degradation."""
        self._note(batch)
        if self.trainer is not None and self.trainer.predicting:
            return self.made.untouched(batch)
        if self.trainer is not None and self.trainer.training:
            self.stopwatch.enter("synthesis")
            return self.made.training(batch, self.trainer.global_step)
        return self.made.evaluation(batch)


def _set_up_worker(worker: int) -> None:
    """Keep a loader's process from starting many threads, and leave it to the trainer to end it.

    Schedulers and terminals send signals to loaders' processes, too.
    """
    cv2.setNumThreads(0)  # PyTorch's it limits itself
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
