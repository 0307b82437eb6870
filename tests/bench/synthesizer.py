"""Degradations a second, against albumentations and against Kornia's own augmentations."""

import os
from collections.abc import Callable, Sequence

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import kornia.augmentation as K
import numpy as np
import torch
from tests.bench.timing import alternate, report, synchronized

from abair_pl.data.shards.sample import load_photograph
from abair_pl.degradations import PAPER_FIVE, Synthesizer, parse_degradation, resolve_degradations
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config

_PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "motorcycle_left", "rocket")


def patches(count: int, size_px: int) -> torch.Tensor:
    """``(count, 3, size, size)`` patches of photographs in [0, 1]."""
    generator = np.random.default_rng(0)
    photographs = [load_photograph(name) for name in _PHOTOGRAPHS]
    cut = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        top, left = (int(generator.integers(side - size_px)) for side in photograph.shape[:2])
        cut.append(photograph[top : top + size_px, left : left + size_px])
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).contiguous().float() / 255.0


def drawn(synthesizer: Synthesizer, clean: torch.Tensor) -> Callable[[], object]:
    """Draw and apply degradations, anew with each call."""
    return lambda: synthesizer(clean, synthesizer.plan(torch.randint(2**50, (len(clean),))))


def in_turns(operators: Sequence[Callable[..., object]], images: Sequence[np.ndarray]) -> Callable[[], object]:
    """Each image through one operator, all operators in turn."""
    return lambda: [operators[index % len(operators)](image=image) for index, image in enumerate(images)]


def in_parts(operators: Sequence[Callable[[torch.Tensor], object]], images: torch.Tensor) -> Callable[[], object]:
    """Equal parts of a batch through one operator each."""
    return lambda: [operator(part) for operator, part in zip(operators, images.chunk(len(operators)), strict=True)]


def bench_synthesizer(device: torch.device, batch: int, size_px: int = 128) -> None:
    """The five degradations mixed on the same patches, on one core or on the device."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clean = patches(batch, size_px)
    here = clean.to(device)
    arrays = [(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for image in clean]
    five = Synthesizer(resolve_degradations(PAPER_FIVE))
    theirs = [A.RandomRain(p=1), A.RandomFog(p=1), A.GaussNoise(p=1), A.MotionBlur(p=1)]
    theirs.append(A.RandomBrightnessContrast(p=1))
    candidates = {
        "synthesizer": synchronized(device, drawn(five, here)),
        "albumentations, one core": in_turns(theirs, arrays),
    }
    report(f"five degradations mixed, {batch} x {size_px}^2, {device.type}", alternate(candidates), batch)
    texts = ("rain", "blur:kind=motion", "noise:kind=gaussian")
    three = Synthesizer([parse_degradation(text) for text in texts])
    stock = [K.RandomRain(p=1.0), K.RandomMotionBlur(21, 35.0, 0.5, p=1.0), K.RandomGaussianNoise(p=1.0)]
    candidates = {
        "synthesizer": synchronized(device, drawn(three, here)),
        "Kornia's own": synchronized(device, in_parts(stock, here)),
    }
    report(f"rain, motion and noise mixed, {batch} x {size_px}^2, {device.type}", alternate(candidates), batch)


def bench_share_of_step(device: torch.device, preset: str = "paper", batch: int = 8, size_px: int = 128) -> None:
    """The synthesizer beside forward and backward of a training step in bfloat16, for which a GPU is needed."""
    clean = patches(batch, size_px).to(device)
    backbone = Backbone(preset_config(preset), len(PAPER_FIVE) + 1).to(device)

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = (backbone(clean) - clean).abs().mean()
        loss.backward()
        backbone.zero_grad()

    five = Synthesizer(resolve_degradations(PAPER_FIVE))
    candidates = {"training step": synchronized(device, step), "synthesizer": synchronized(device, drawn(five, clean))}
    report(f"share of a step, preset {preset}, {batch} x {size_px}^2, {device.type}", alternate(candidates), batch)
