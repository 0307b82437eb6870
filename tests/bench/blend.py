"""Mixing adapters in one forward, against the plain backbone and against one forward an adapter."""

from functools import partial

import torch
from tests.bench.timing import ROUNDS, alternate, report, synchronized

from abair_pl.degradations import PAPER_FIVE
from abair_pl.models.adapters import Adapter, LowRankUpdate, adaptable_layers
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.presets import preset_config

RANK = 4


def random_adapter(backbone: Backbone) -> Adapter:
    """An adapter of rank 4 with random weights."""
    updates: Adapter = {}
    for name in adaptable_layers(backbone):
        weight = backbone.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        outputs, inputs = weight.shape[:2]
        updates[name] = LowRankUpdate(torch.randn(RANK, inputs) * 0.01, torch.randn(outputs, RANK) * 0.01, 1.0)
    return updates


def one_by_one(blended: BlendedBackbone, image: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """A forward for each of the given mixtures."""
    return [blended(image, single) for single in weights]


@torch.inference_mode()
def bench_blend(device: torch.device, preset: str, size_px: int = 256, rounds: int = ROUNDS) -> None:
    """Print the ratios for one image and for four with different mixtures."""
    labels = len(PAPER_FIVE) + 1
    plain = Backbone(preset_config(preset), labels).to(device).eval()
    mixed = Backbone(preset_config(preset), labels)
    adapters = {name: random_adapter(mixed) for name in PAPER_FIVE}
    blended = BlendedBackbone(mixed, adapters).to(device).eval()
    for batch in (1, 4):
        image = torch.rand(batch, 3, size_px, size_px, device=device).to(memory_format=torch.channels_last)
        weights = torch.rand(batch, len(adapters), device=device).softmax(dim=1)
        maps = torch.rand(batch, len(adapters), size_px, size_px, device=device).softmax(dim=1)
        singles = torch.eye(len(adapters), device=device)[:, None]
        candidates = {
            "plain backbone": partial(plain, image),
            "soft blend of five adapters": partial(blended, image, weights),
            "pixel blend of five adapters": partial(blended, image, maps),
        }
        if batch == 1:
            candidates["label map, for the weights of pixel"] = partial(blended.segment, image)
            candidates["one forward an adapter (the usual way)"] = partial(one_by_one, blended, image, singles)
        timed = {name: synchronized(device, run) for name, run in candidates.items()}
        report(f"blend, preset {preset}, {batch} x {size_px}^2, {device.type}", alternate(timed, rounds), batch)
