"""The app's examples: scikit-image's photographs, degraded here; nothing is downloaded."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from abair_pl.data.shards.sample import load_photograph
from abair_pl.degradations import Synthesizer, parse_degradation

DEGRADATIONS = {"coffee": "noise:sigma=35", "chelsea": "rain:severity=0.8", "astronaut": "low_light:severity=0.6"}
"""Photographs, and what is done to each."""

_LONGEST_SIDE_PX = 448
_SEED = 3


@dataclass(frozen=True)
class Example:
    """A photograph to try.

    Attributes:
        name: What to call its file.
        damage: What is wrong with it.
        pixels: ``(3, H, W)`` RGB in [0, 1], degraded.
    """

    name: str
    damage: str
    pixels: Tensor


def make_examples() -> list[Example]:
    """Degrade the photographs; each time the same."""
    return [
        Example(name, text.partition(":")[0].replace("_", " "), _degraded(_small(name), text))
        for name, text in DEGRADATIONS.items()
    ]


def _small(name: str) -> Tensor:
    photograph = Image.fromarray(load_photograph(name))
    photograph.thumbnail((_LONGEST_SIDE_PX, _LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(photograph)).permute(2, 0, 1) / 255.0


def _degraded(clean: Tensor, text: str) -> Tensor:
    synthesizer = Synthesizer.only(parse_degradation(text))
    plan = synthesizer.plan(torch.tensor([_SEED]), synthesizer.sources[-1])
    return synthesizer(clean[None], plan).degraded[0]
