"""The numbers of docs/scale.md: formulas for a large run, and the rates that a CPU can measure.

``python docs/scale.py`` prints the tables, ``python docs/scale.py --measure`` takes the rates anew.
"""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DAY_S = 86400.0
FP32_BYTES = 4


@dataclass(frozen=True)
class Rates:
    """What was measured on one CPU core, see :func:`measure`, and what is assumed of GPUs.

    Attributes:
        sample_bytes: Of a shard, for each photograph.
        loader_per_s: Samples a second of a loader's worker.
        gpu_flops: Of a GPU in bfloat16, at its peak (assumed: A100).
        utilisation: The part of it that a training step reaches (assumed).
        synthesis_per_s: Patches a second that a GPU degrades (assumed).
        gpu_link_bytes_per_s: Of one GPU to those of other nodes (assumed: 200 Gbit/s).
        storage_bytes_per_s: Of the file system, for one writer (assumed).
    """

    sample_bytes: float = 96e3
    loader_per_s: float = 670.0
    gpu_flops: float = 312e12
    utilisation: float = 0.2
    synthesis_per_s: float = 4000.0
    gpu_link_bytes_per_s: float = 25e9
    storage_bytes_per_s: float = 1e9


@dataclass(frozen=True)
class Run:
    """A run of phase I.

    Attributes:
        photographs: To train on.
        samples_per_shard: As ``shards build`` has it.
        nodes: Machines.
        gpus: On each.
        workers: Loader processes for each GPU.
        batch: Over all GPUs.
        patch_px: Side of the patches.
        steps: Optimizer steps.
        parameters: Of the backbone, all trained.
        forward_flop: For an image of 256 x 256 pixels, as ``doctor --preset paper`` counts.
        checkpoint_every: Optimizer steps between two checkpoints.
        checkpoints_kept: Of a run.
        validate_every: Optimizer steps between two validations.
        val_photographs: Measured with each of the degradations.
        degradations: How many there are.
        val_px: Side of what is measured.
        rates: How fast the parts are.
    """

    photographs: int = 5_000_000
    samples_per_shard: int = 1000
    nodes: int = 8
    gpus: int = 8
    workers: int = 2
    batch: int = 1024
    patch_px: int = 128
    steps: int = 300_000
    parameters: float = 50.0e6
    forward_flop: float = 451.72e9
    checkpoint_every: int = 1000
    checkpoints_kept: int = 3
    validate_every: int = 5000
    val_photographs: int = 1000
    degradations: int = 5
    val_px: int = 256
    rates: Rates = Rates()

    @property
    def ranks(self) -> int:
        """GPUs over all nodes."""
        return self.nodes * self.gpus

    @property
    def slots(self) -> int:
        """Readers of shards: workers over all ranks."""
        return self.ranks * self.workers

    @property
    def shards(self) -> int:
        """Files, the last one of which may be smaller."""
        return math.ceil(self.photographs / self.samples_per_shard)

    @property
    def shard_bytes(self) -> float:
        """Of a full shard."""
        return self.samples_per_shard * self.rates.sample_bytes

    @property
    def even_shards(self) -> int:
        """The next number of shards that deals equally many to every reader."""
        return math.ceil(self.shards / self.slots) * self.slots

    @property
    def epochs(self) -> float:
        """How often each photograph is seen."""
        return self.steps * self.batch / self.photographs

    @property
    def network_s(self) -> float:
        """A GPU's forward and backward pass (three times the forward) for its part of the batch."""
        flop = 3 * self.forward_flop * (self.patch_px / 256) ** 2 * self.batch / self.ranks
        return flop / (self.rates.gpu_flops * self.rates.utilisation)

    @property
    def synthesis_s(self) -> float:
        """Degrading a GPU's part of the batch."""
        return self.batch / self.ranks / self.rates.synthesis_per_s

    @property
    def exchange_s(self) -> float:
        """Summing the gradient over all GPUs in a ring, if nothing of it is hidden behind the backward pass."""
        traffic = 2 * (self.ranks - 1) / self.ranks * self.parameters * FP32_BYTES
        return traffic / self.rates.gpu_link_bytes_per_s

    @property
    def loader_s(self) -> float:
        """What the workers of a GPU need for its part of the batch; they work beside it."""
        return self.batch / self.ranks / (self.workers * self.rates.loader_per_s)

    @property
    def step_s(self) -> float:
        """The slower of the loader and of what the GPU does one after the other."""
        return max(self.loader_s, self.network_s + self.synthesis_s + self.exchange_s)

    @property
    def checkpoint_bytes(self) -> float:
        """Weights, both moments of AdamW, and the moving average, in float32."""
        return 4 * FP32_BYTES * self.parameters

    @property
    def checkpoint_s(self) -> float:
        """Writing one, while training waits."""
        return self.checkpoint_bytes / self.rates.storage_bytes_per_s

    @property
    def validation_s(self) -> float:
        """The forward passes of one validation; decoding goes on beside them."""
        flop = self.forward_flop * (self.val_px / 256) ** 2 * self.val_photographs * self.degradations / self.ranks
        return flop / (self.rates.gpu_flops * self.rates.utilisation)

    @property
    def seconds(self) -> float:
        """Of the whole run, start and queues left out."""
        checkpoints = self.steps // self.checkpoint_every
        validations = self.steps // self.validate_every
        return self.steps * self.step_s + checkpoints * self.checkpoint_s + validations * self.validation_s

    def table(self) -> list[tuple[str, str]]:
        """What docs/scale.md shows of a run."""
        per_s, whole = self.batch / self.step_s, self.photographs * self.rates.sample_bytes
        node = per_s / self.nodes * self.rates.sample_bytes
        reread = self.photographs / self.slots * self.rates.sample_bytes
        written = self.steps // self.checkpoint_every * self.checkpoint_bytes
        return [
            ("shards", f"{self.shards} of {self.shard_bytes / 1e6:.0f} MB, {whole / 1e9:.0f} GB in all"),
            ("shards that deal evenly", f"{self.even_shards}"),
            (
                "readers (GPUs x workers)",
                f"{self.ranks} x {self.workers} = {self.slots}, {self.shards / self.slots:.1f} shards each",
            ),
            ("batch", f"{self.batch}, {self.batch // self.ranks} a GPU"),
            ("loader, for a step", f"{self.loader_s * 1e3:.1f} ms"),
            ("synthesizer", f"{self.synthesis_s * 1e3:.1f} ms, {self.synthesis_s / self.step_s:.0%} of a step"),
            ("forward and backward", f"{self.network_s * 1e3:.1f} ms"),
            ("gradients over the network", f"{self.exchange_s * 1e3:.1f} ms, if nothing is hidden"),
            ("step", f"{self.step_s * 1e3:.0f} ms, {per_s:.0f} photographs/s"),
            ("from storage, each node", f"{node / 1e6:.0f} MB/s"),
            ("epochs", f"{self.epochs:.1f}"),
            ("checkpoint", f"{self.checkpoint_bytes / 1e9:.1f} GB, {self.checkpoint_s:.1f} s"),
            (
                "checkpoints, kept and written",
                f"{self.checkpoints_kept * self.checkpoint_bytes / 1e9:.1f} GB, {written / 1e9:.0f} GB",
            ),
            ("validation", f"{self.validation_s:.1f} s each, {self.steps // self.validate_every} of them"),
            (
                "read again at a resume",
                f"{reread / 2e6:.0f} MB a worker on average, {self.gpus * self.workers * reread / 2e9:.1f} GB a node",
            ),
            ("whole run", f"{self.seconds / DAY_S:.2f} days"),
        ]


RUNS = {
    "1 x 8, batch 256": Run(nodes=1, batch=256),
    "8 x 8, batch 256": Run(batch=256),
    "8 x 8, batch 1024": Run(),
}
"""GPUs and batches that docs/scale.md compares."""


def markdown(runs: dict[str, Run]) -> str:
    """The runs side by side."""
    columns = [dict(run.table()) for run in runs.values()]
    rows = [f"| | {' | '.join(runs)} |", "|---" * (len(runs) + 1) + "|"]
    rows += [f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]]
    return "\n".join(rows)


def measure() -> dict[str, float]:
    """Seconds of one core's time, so that other processes on it hardly count."""
    import cv2
    import numpy as np
    import torch
    from PIL import Image

    from abair_pl.data.augment import Augmentation
    from abair_pl.data.decode import decode_sample
    from abair_pl.data.shards.build import build_shards
    from abair_pl.data.shards.sample import load_photograph
    from abair_pl.data.streaming.archive import read_samples
    from abair_pl.data.streaming.collate import collate
    from abair_pl.data.streaming.fetch import ShardOpener
    from abair_pl.data.streaming.progress import Progress
    from abair_pl.data.streaming.sources import expand_sources
    from abair_pl.data.streaming.stream import TrainStream
    from abair_pl.degradations import PAPER_FIVE, Synthesizer, resolve_degradations
    from abair_pl.models.backbone import Backbone
    from abair_pl.models.presets import preset_config

    torch.set_num_threads(1)
    cv2.setNumThreads(0)

    def of(work: Callable[[], object], times: int) -> float:
        work()
        seconds = []
        for _ in range(times):
            start = time.process_time()
            work()
            seconds.append(time.process_time() - start)
        return float(np.median(seconds))

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, shards = Path(scratch, "photographs"), Path(scratch, "shards")
        folder.mkdir()
        generator = np.random.default_rng(0)
        names = ("astronaut", "coffee", "chelsea", "motorcycle_left", "rocket")
        for index in range(200):
            photograph = load_photograph(names[index % len(names)])
            side = generator.uniform(0.7, 1.0) * min(photograph.shape[0] * 4 / 3, photograph.shape[1])
            height, width = round(side * 0.75), round(side)
            top = int(generator.integers(photograph.shape[0] - height + 1))
            left = int(generator.integers(photograph.shape[1] - width + 1))
            cut = Image.fromarray(photograph[top : top + height, left : left + width])
            cut.resize((512, 384), Image.Resampling.LANCZOS).save(folder / f"{index}.jpg", quality=95, subsampling=0)
        build_shards(folder, shards, samples_per_shard=50, workers=1)
        found["bytes a sample in a shard"] = sum(file.stat().st_size for file in shards.glob("*.tar")) / 200
        sources = expand_sources(str(shards), False)
        samples = list(read_samples(sources[0].shards, ShardOpener(None, None, False)))
        found["JPEGs of 512 x 384 decoded, 1/s"] = 200 / of(
            lambda: [decode_sample(dict(sample)) for sample in samples], 5
        )
        opener, start = ShardOpener(None, None, False), Progress()
        stream = iter(TrainStream(sources, Augmentation(128, random=True), 0, 0, 1, 100, opener, 0.01, start))
        found["samples of a loader's worker, 1/s"] = 200 / of(lambda: collate([next(stream) for _ in range(200)]), 5)
    clean = torch.rand(16, 3, 128, 128)
    five = Synthesizer(resolve_degradations(PAPER_FIVE))
    synthesis = of(lambda: five(clean, five.plan(torch.randint(2**50, (16,)))), 7) / 16
    backbone = Backbone(preset_config("paper"), len(PAPER_FIVE) + 1)

    def step() -> None:
        (backbone(clean[:1]) - clean[:1]).abs().mean().backward()
        backbone.zero_grad()

    network = of(step, 3)
    found["patches of 128 px degraded, 1/s"] = 1 / synthesis
    found["patches trained on by preset paper (forward and backward), 1/s"] = 1 / network
    found["synthesizer over network"] = synthesis / network
    return found


if __name__ == "__main__":
    if "--measure" in sys.argv:
        for name, value in measure().items():
            print(f"{name}: {value:.4g}")
    else:
        print(markdown(RUNS))
