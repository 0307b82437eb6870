"""Mixtures and sizes at which an exported restorer has to agree with the one in memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from abair_pl.bundle import Bundle
from abair_pl.restore import Abair

SIZES = [(1, 33, 47), (2, 64, 48), (3, 17, 80)]
"""Images, height and width: padded on both sides, on none, on one."""

MIXTURES = [{"rain": 1.0}, {"rain": 0.7, "haze": 0.3}, {"noise": 0.5, "blur": -0.25, "low_light": 1.5}]


@pytest.fixture(scope="session")
def model(bundle: Bundle) -> Abair:
    """The complete bundle, ready to restore."""
    return Abair(bundle, "cpu")


@pytest.fixture(scope="session")
def differs(model: Abair) -> Callable[..., float]:
    """By how much a function of an image and weights differs from the bundle, at most, over sizes and mixtures."""

    def largest(run: Callable[[Tensor, Tensor], Tensor], mixtures: list[dict[str, float]] = MIXTURES) -> float:
        found = 0.0
        for index, (images, height, width) in enumerate(SIZES):
            image = torch.rand(images, 3, height, width, generator=torch.Generator().manual_seed(index))
            for mixture in mixtures:
                weights = torch.tensor([[mixture.get(name, 0.0) for name in model.names]]).repeat(images, 1)
                weights[1:] *= 0.5  # each image has its own
                restored = run(image, weights)
                assert restored.shape == image.shape
                found = max(found, (restored - model.restore_tensor(image, weights)).abs().max().item())
        return found

    return largest
