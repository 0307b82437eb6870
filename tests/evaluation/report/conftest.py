from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor
from torch.nn import functional as F

from abair_pl.evaluation.protocols import PROTOCOLS
from abair_pl.evaluation.results import Example, Record, Results
from abair_pl.evaluation.suite import Method, Suite, Task

_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle")
_KINDS = ("worst", "median", "best")
_SUITE = Suite(
    "Five & more <degradations>",
    {
        "deraining": Task("Deraining", "Rain100L", "rain100", "Rain100L", protocol="y"),
        "dehazing": Task("Dehazing", "SOTS (Out)", "sots", "SOTS"),
        "denoising": Task("Denoising", "BSD68 \N{GREEK SMALL LETTER SIGMA}=25", "clean", "BSD68"),
        "deblurring": Task("Deblurring", "GoPro", "gopro", "GoPro"),
        "low_light": Task("Low light", "LoLv1", "lol", "LoLv1"),
    },
    {"none": Method("phase I", "none"), "soft": Method("SW"), "oracle": Method("Oracle", "oracle")},
    published="table1",
    main="soft",
)
_SKILL = {  # how far towards the clean image
    "none": {"deraining": 0.2, "denoising": 0.35, "deblurring": -0.1, "low_light": 0.1},
    "soft": {"deraining": 0.55, "denoising": 0.5, "deblurring": 0.2, "low_light": 0.6},
    "oracle": {"deraining": 0.6, "denoising": 0.52, "deblurring": 0.15, "low_light": 0.7},
}


@pytest.fixture(scope="session")
def suite() -> Suite:
    return _SUITE


@pytest.fixture(scope="session")
def measure() -> Callable[..., tuple[Results, list[Example]]]:
    """Measure toy methods on scikit-image's photographs, of which the middle is used."""
    return _measure


@pytest.fixture(scope="session")
def measured() -> tuple[Results, list[Example]]:
    """Four tasks, of which deraining and low light have stand-ins; dehazing was skipped."""
    return _measure(64)


@pytest.fixture(scope="session")
def results(measured: tuple[Results, list[Example]]) -> Results:
    return measured[0]


@pytest.fixture(scope="session")
def examples(measured: tuple[Results, list[Example]]) -> list[Example]:
    return measured[1]


def _measure(side_px: int) -> tuple[Results, list[Example]]:
    records: list[Record] = []
    examples: list[Example] = []
    for task in _SKILL["soft"]:
        found = [_measure_image(task, name, index, side_px) for index, name in enumerate(_PHOTOGRAPHS)]
        found.sort(key=lambda pair: pair[1].psnr["soft"] - pair[1].psnr["input"])
        shown = (found[0], found[len(found) // 2], found[-1])
        examples += [_as(kind, example) for kind, (_, example) in zip(_KINDS, shown, strict=True)]
        by_method = [record for made, _ in found for record in made]
        records += sorted(by_method, key=lambda record: (list(_SUITE.methods).index(record.method), record.image))
    tasks = list(_SKILL["soft"])
    results = Results(
        _SUITE,
        records,
        {task: f"{_SUITE.tasks[task].dataset} ({len(_PHOTOGRAPHS)} pairs)" for task in tasks}
        | {task: f"{len(_PHOTOGRAPHS)} photographs, {task} added" for task in ("deraining", "low_light")},
        frozenset({"deraining", "low_light"}),
        {"dehazing": "there is no folder SOTS in --data"},
        {task: asdict(PROTOCOLS[_SUITE.tasks[task].protocol]) for task in tasks},
        {"bundle main": "tiny, 2.5 M parameters, five adapters", "version": "0.0"},
        {"none": 2_400_000, "soft": 2_512_000, "oracle": 2_512_000},
    )
    return results, examples


def _measure_image(task: str, name: str, seed: int, side_px: int) -> tuple[list[Record], Example]:
    protocol = PROTOCOLS[_SUITE.tasks[task].protocol]
    clean = _photograph(name, side_px)
    degraded = _degraded(task, clean, seed)
    restored = {
        method: (degraded + (clean - degraded) * (skill[task] - 0.02 * seed)).clamp(0.0, 1.0)
        for method, skill in _SKILL.items()
    }
    before = protocol.measure(degraded, clean)
    after = {method: protocol.measure(image, clean) for method, image in restored.items()}
    megapixels = clean[0].numel() / 1e6
    records = [
        Record(task, method, name, *before, *score, {"rain": 0.25, "noise": 0.5}, method == "soft", 1.5, megapixels)
        for method, score in after.items()
    ]
    psnr = {"input": before[0]} | {method: score[0] for method, score in after.items()}
    return records, Example(task, name, "", degraded, clean, restored, psnr)


def _as(kind: str, example: Example) -> Example:
    restored: Mapping[str, Tensor] = example.restored
    return Example(example.task, example.image, kind, example.degraded, example.clean, restored, example.psnr)


def _photograph(name: str, side_px: int) -> Tensor:
    pixels = skimage.data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(skimage.data, name)()
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255.0
    top, left = (max(side - side_px, 0) // 2 for side in image.shape[1:])
    return image[:, top : top + side_px, left : left + side_px].contiguous()


def _degraded(task: str, clean: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if task == "low_light":
        return clean * 0.3
    if task == "deblurring":
        return F.avg_pool2d(clean[None], 9, 1, 4, count_include_pad=False)[0]
    if task == "denoising":
        return (clean + torch.randn(clean.shape, generator=generator) * 0.1).clamp(0.0, 1.0)
    drops = (torch.rand(clean.shape[1:], generator=generator) > 0.98).float()
    streaks = F.avg_pool2d(F.pad(drops, (0, 0, 8, 8))[None], (17, 1), 1)[0] * 6.0
    return (clean + streaks.clamp(0.0, 0.6)).clamp(0.0, 1.0)
