"""``make bench``: speed as ratios, each pair of candidates measured alternately in one run."""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import numpy as np
import torch

from abair_pl.degradations import BUILT_IN, Synthesizer, resolve_degradations
from abair_pl.models.adapters import Adapter, LowRankUpdate, adaptable_layers
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.presets import preset_config

ROUNDS = 7
RANK = 4


def alternate(candidates: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each candidate; rounds alternate, so that a drifting machine drifts for all."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for round_index in range(ROUNDS + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if round_index:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def report(title: str, seconds: dict[str, float], images: int) -> None:
    """Print each candidate's rate, and how many times the first one's time it takes."""
    first = next(iter(seconds.values()))
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<44}{images / value:10.1f} images/s{value / first:8.2f} x the time of the first")


def random_adapter(backbone: Backbone) -> Adapter:
    """An adapter of rank 4 with random weights."""
    updates: Adapter = {}
    for name in adaptable_layers(backbone):
        weight = backbone.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        outputs, inputs = weight.shape[:2]
        updates[name] = LowRankUpdate(torch.randn(RANK, inputs) * 0.01, torch.randn(outputs, RANK) * 0.01, 1.0)
    return updates


def synchronized(device: torch.device, run: Callable[[], object]) -> Callable[[], object]:
    """The same call, over only when the device is done."""

    def timed() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return timed


def one_by_one(blended: BlendedBackbone, image: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """A forward for each of the given mixtures."""
    return [blended(image, single) for single in weights]


@torch.inference_mode()
def bench_blend(device: torch.device, preset: str = "tiny", size_px: int = 256) -> None:
    """Mixing five adapters in one forward, against the plain backbone and against one forward an adapter."""
    labels = len(BUILT_IN) + 1
    plain = Backbone(preset_config(preset), labels).to(device).eval()
    mixed = Backbone(preset_config(preset), labels)
    adapters = {name: random_adapter(mixed) for name in BUILT_IN}
    blended = BlendedBackbone(mixed, adapters).to(device).eval()
    for batch in (1, 4):
        image = torch.rand(batch, 3, size_px, size_px, device=device).to(memory_format=torch.channels_last)
        weights = torch.rand(batch, len(adapters), device=device).softmax(dim=1)
        singles = torch.eye(len(adapters), device=device)[:, None].expand(-1, batch, -1)

        candidates = {
            "plain backbone": synchronized(device, partial(plain, image)),
            "soft blend of five adapters": synchronized(device, partial(blended, image, weights)),
            "one forward an adapter (the usual way)": synchronized(
                device, partial(one_by_one, blended, image, singles)
            ),
        }
        report(f"blend, preset {preset}, {batch} x {size_px}^2, {device.type}", alternate(candidates), batch)


def bench_synthesizer(device: torch.device, batch: int = 30, size_px: int = 128) -> None:
    """The five degradations mixed, against the nearest mix in albumentations on one core."""
    torch.set_num_threads(1)
    clean = torch.rand(batch, 3, size_px, size_px)
    arrays = [(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for image in clean]
    here = clean.to(device)
    synthesizer = Synthesizer(resolve_degradations(list(BUILT_IN)))
    operators = [A.RandomRain(p=1), A.RandomFog(p=1), A.GaussNoise(p=1), A.MotionBlur(p=1)]
    operators.append(A.RandomBrightnessContrast(p=1))

    def ours() -> None:
        synthesizer(here, synthesizer.plan(torch.randint(2**50, (batch,))))

    def theirs() -> None:
        for index, image in enumerate(arrays):
            operators[index % len(operators)](image=image)

    candidates = {"synthesizer": synchronized(device, ours), "albumentations": theirs}
    report(f"five degradations mixed, {batch} x {size_px}^2, {device.type}", alternate(candidates), batch)


if __name__ == "__main__":
    chosen = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {chosen.type}")
    bench_blend(chosen)
    bench_synthesizer(chosen)
