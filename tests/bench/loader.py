"""Images per second through the datamodule, as a share of a bare loop of decode and crop with as many workers."""

import io
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data as photographs
from torch.utils.data import DataLoader, Dataset, RandomSampler

from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.shards.build import build_shards

ROUNDS = 7
BATCH = 16
BATCHES = 20
PATCH_PX = 128
COUNT = 200
SHARDS = 8
SIZE = (640, 480)


class BareLoop(Dataset[torch.Tensor]):
    """Decode a JPEG, cut a random patch: what no loader of photographs can leave out."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as image:
            pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
        top, left = (int(torch.randint(side - PATCH_PX + 1, ())) for side in pixels.shape[:2])
        patch = pixels[top : top + PATCH_PX, left : left + PATCH_PX]
        return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1)))


def save_photographs(folder: Path) -> None:
    """Write 200 JPEGs of 640 x 480 pixels, each another crop of one of scikit-image's photographs."""
    sources = [photographs.astronaut(), photographs.chelsea(), photographs.coffee(), photographs.rocket()]
    generator = np.random.default_rng(0)
    folder.mkdir()
    for index in range(COUNT):
        image = Image.fromarray(sources[index % len(sources)])
        side = generator.uniform(0.6, 1.0) * np.array([min(image.width, image.height * 4 / 3)] * 2) * [1.0, 0.75]
        left, top = generator.uniform(0, 1, 2) * (np.array(image.size) - side)
        cut = image.resize(SIZE, Image.Resampling.BICUBIC, (left, top, left + side[0], top + side[1]))
        buffer = io.BytesIO()
        cut.save(buffer, "jpeg", quality=90)
        (folder / f"{index:03d}.jpg").write_bytes(buffer.getvalue())


def seconds(batches: Iterator[object], workers: int) -> float:
    """Time for some batches, after those that were made while the loader waited."""
    list(islice(batches, 2 * workers + 1))
    start = time.perf_counter()
    list(islice(batches, BATCHES))
    return time.perf_counter() - start


def bench_loader(worker_counts: tuple[int, ...] = (1, 2)) -> dict[int, float]:
    """Print and return the datamodule's rate as a share of the bare loop's, by the number of workers."""
    cv2.setNumThreads(1)
    ratios: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, shards = Path(scratch, "photographs"), Path(scratch, "shards")
        save_photographs(folder)
        build_shards(folder, shards, samples_per_shard=COUNT // SHARDS, workers=1)
        bare = BareLoop(folder)
        print(f"\nloader, {COUNT} JPEGs of {SIZE[0]} x {SIZE[1]}, patches of {PATCH_PX} px")
        for workers in worker_counts:
            sampler = RandomSampler(bare, replacement=True, num_samples=10**9)
            datamodule = RestorationDataModule(
                str(shards), str(shards), batch_size=BATCH, patch_px=PATCH_PX, workers=workers
            )
            candidates: dict[str, Iterator[object]] = {
                "bare": iter(DataLoader(bare, BATCH, sampler=sampler, num_workers=workers)),
                "ours": iter(datamodule.train_dataloader()),
            }
            taken: dict[str, list[float]] = {name: [] for name in candidates}
            for _ in range(ROUNDS):
                for name, batches in candidates.items():
                    taken[name].append(seconds(batches, workers))
            median = {name: float(np.median(values)) for name, values in taken.items()}
            ratios[workers] = median["bare"] / median["ours"]
            rate = {name: BATCH * BATCHES / value for name, value in median.items()}
            print(
                f"  {workers} workers: {rate['ours']:7.1f} images/s, the bare loop {rate['bare']:7.1f} images/s, "
                f"ratio {ratios[workers]:.2f}"
            )
    return ratios


if __name__ == "__main__":
    bench_loader()
