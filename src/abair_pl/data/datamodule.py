"""The LightningDataModule: shards on the CPU, degradations on the device."""

import hashlib
import zlib
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from abair_pl.batch import PhotoBatch, RestorationBatch
from abair_pl.data.augment import Augmentation
from abair_pl.data.manifest import MANIFEST_NAME, count_samples, expand_shards, file_sha256, shard_layout
from abair_pl.data.streaming import ExactStream, PhotoSample, TrainStream, collate
from abair_pl.degradations import Degradation, Synthesizer, resolve_degradations
from abair_pl.degradations.random import combine
from abair_pl.errors import InputError, ShardError

_LEAST = {"batch_size": 1, "patch_px": 1, "val_patch_px": 11, "shuffle_buffer": 1, "workers": 0, "seed": 0}


class RestorationDataModule(L.LightningDataModule):
    """Streams shards and degrades them on the device.

    Which degradations are made is the module's to say: its ``degradations`` in the order of the labels, and its
    ``training_degradation`` where a phase trains on a single one. Shards of real pairs need a module with a single one.

    Args:
        train: Shards to train on: a folder, a path or URL with braces such as ``gld-{000000..000999}.tar``, or a list.
        val: Shards to validate on, with their manifest beside them.
        test: Shards to test on; those of ``val`` if left out.
        batch_size: Photographs in an optimizer step, over all devices and accumulated batches together.
        patch_px: Side of the training patches.
        val_patch_px: Side of the centre crops that validation measures.
        workers: Loader processes for each device.
        shuffle_buffer: Samples that a worker mixes.
        seed: Seed of order, patches and degradations.
        cutmix_probability: Share of training photographs with several degradations in regions.
        clean_probability: Share of the other training photographs that stay clean.
        operators: Degradations to use in place of, or beside, the built-in ones; matched by their ``name``.
    """

    def __init__(
        self,
        train: str | list[str],
        val: str | list[str],
        test: str | list[str] | None = None,
        batch_size: int = 32,
        patch_px: int = 128,
        val_patch_px: int = 256,
        workers: int = 4,
        shuffle_buffer: int = 1000,
        seed: int = 0,
        cutmix_probability: float = 0.0,
        clean_probability: float = 0.0,
        operators: list[Degradation] | None = None,
    ) -> None:
        super().__init__()
        self.train = train
        self.val = val
        self.test = test
        self.batch_size = batch_size
        self.patch_px = patch_px
        self.val_patch_px = val_patch_px
        self.workers = workers
        self.shuffle_buffer = shuffle_buffer
        self.seed = seed
        self.cutmix_probability = cutmix_probability
        self.clean_probability = clean_probability
        self.operators = operators or []
        self.degradations: list[str] = []
        self.training_degradation: str | None = None
        self._synthesizer: Synthesizer | None = None
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                message = f"data.{name} is {getattr(self, name)}; expected at least {least}"
                raise InputError(message)

    def setup(self, stage: str) -> None:
        """Take over what the module asks for, and check the shards and the synthesis before the first batch."""
        if self.trainer is not None:
            module: Any = self.trainer.lightning_module
            self.prepare_synthesis(module.degradations, module.training_degradation)
            if stage == "fit":
                shards = expand_shards(self.train)
                self._check_shards(shards)
                if shard_layout(shards) == "clean":
                    _ = self.synthesizer

    def prepare_synthesis(self, degradations: list[str], training_degradation: str | None = None) -> None:
        """Say what is to be synthesized.

        Args:
            degradations: Names in the order of the labels.
            training_degradation: The only one to train on; None for all.
        """
        self.degradations = degradations
        self.training_degradation = training_degradation
        self._synthesizer = None

    @property
    def synthesizer(self) -> Synthesizer:
        """Makes the degradations, from when they are first needed: real pairs need none, and may have any name.

        Raises:
            InputError: Nothing is to be synthesized yet, a name is neither built in nor among the operators, or a
                probability is out of bounds.
        """
        if not self.degradations:
            message = "no degradations are set; expected at least one: pass a module's to prepare_synthesis()"
            raise InputError(message)
        if self._synthesizer is None:
            self._synthesizer = Synthesizer(
                resolve_degradations(self.degradations, self.operators),
                cutmix_probability=self.cutmix_probability,
                clean_probability=self.clean_probability,
            )
        return self._synthesizer

    def _check_shards(self, shards: list[str]) -> None:
        ranks, workers = self._world_size, max(self.workers, 1)
        if len(shards) < ranks * workers:
            message = (
                f"{len(shards)} training shards for {ranks} ranks x {workers} workers; expected at least "
                f"{ranks * workers}: set --data.workers lower, or build with a smaller --samples-per-shard"
            )
            raise ShardError(message)
        parts = ranks * self._accumulation
        split = f"{ranks} devices x {self._accumulation} accumulated batches"
        if self.batch_size % parts:
            message = f"batch_size {self.batch_size} does not divide over {split}; choose a multiple of {parts}"
            raise InputError(message)
        rank_zero_info(f"batch of {self.batch_size} = {split} x {self.batch_size // parts}")

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _accumulation(self) -> int:
        return self.trainer.accumulate_grad_batches if self.trainer else 1

    @property
    def _device_batch_size(self) -> int:
        return self.batch_size // (self._world_size * self._accumulation)

    @property
    def _val_batch_size(self) -> int:
        return max(self._device_batch_size // 4, 1)  # each photograph is degraded in several ways

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def provenance(self) -> dict[str, Any]:
        """Facts about the data for a bundle: where it came from, its manifests' digest, and the seed."""
        folders = sorted({str(Path(shard).parent) for shard in expand_shards(self.train) if "://" not in shard})
        manifests = [Path(folder, MANIFEST_NAME) for folder in folders]
        digests = "".join(file_sha256(manifest) for manifest in manifests if manifest.exists())
        digest = hashlib.sha256(digests.encode()).hexdigest()[:16]
        facts = {"data_manifest": digest, "data_seed": self.seed}
        return {**facts, "batch_size": self.batch_size, "patch_px": self.patch_px}

    def train_dataloader(self) -> DataLoader[PhotoSample]:
        """An endless loader; the trainer counts steps."""
        augmentation = Augmentation(self.patch_px, random=True)
        shards = expand_shards(self.train)
        stream = TrainStream(shards, augmentation, self.seed, self._rank, self._world_size, self.shuffle_buffer)
        return self._loader(stream, self._device_batch_size)

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
        shards = expand_shards(source)
        augmentation = Augmentation(patch_px, random=False)
        samples = count_samples(shards)
        stream = ExactStream(shards, samples, augmentation, self.seed, self._rank, self._world_size)
        return self._loader(stream, batch_size)

    def _loader(self, stream: TrainStream | ExactStream, batch_size: int) -> DataLoader[PhotoSample]:
        return DataLoader(
            stream,
            batch_size,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
        )

    def on_after_batch_transfer(self, batch: PhotoBatch, dataloader_idx: int) -> RestorationBatch:
        """Degrade on the device, in float32: training by each sample's seed, evaluation with every degradation."""
        clean = batch.clean.float() / 255.0
        if self.trainer is not None and self.trainer.predicting:
            degraded = clean if batch.degraded is None else batch.degraded.float() / 255.0
            return RestorationBatch(
                clean, degraded, torch.zeros_like(batch.clean[:, 0]).long(), batch.keys, batch.valid
            )
        if batch.degraded is not None:
            return self._pairs(batch, clean)
        synthesizer = self.synthesizer
        training = self.trainer is not None and self.trainer.training
        if training:
            synthesis = synthesizer(clean, synthesizer.plan(batch.seeds, self.training_degradation))
            return RestorationBatch(clean, synthesis.degraded, synthesis.labels, batch.keys, batch.valid)
        names = [self.training_degradation] if self.training_degradation else self.degradations
        parts = []
        for name in names:
            seeds = torch.tensor([combine(seed, zlib.crc32(name.encode())) for seed in batch.seeds.tolist()])
            parts.append(synthesizer(clean, synthesizer.plan(seeds, name)))
        return RestorationBatch(
            clean=clean.repeat(len(names), 1, 1, 1),
            degraded=torch.cat([part.degraded for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            keys=batch.keys * len(names),
            valid=batch.valid.repeat(len(names)),
        )

    def _pairs(self, batch: PhotoBatch, clean: torch.Tensor) -> RestorationBatch:
        if self.training_degradation is None or batch.degraded is None:
            message = "shards of pairs carry no labels; expected a phase that trains on a single degradation"
            raise InputError(message)
        label = 1 + self.degradations.index(self.training_degradation)
        labels = torch.full((len(clean), *clean.shape[2:]), label, device=clean.device)
        return RestorationBatch(clean, batch.degraded.float() / 255.0, labels, batch.keys, batch.valid)
