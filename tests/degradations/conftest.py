"""Photographs and seeds that the tests of the degradations share."""

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.random import SEED_LIMIT, smooth_field

_COLOR = ("astronaut", "chelsea", "coffee", "rocket")
_GREY = ("camera", "brick", "grass", "gravel", "coins", "moon")


@pytest.fixture
def seeds() -> NDArray[np.int64]:
    """``(4,)``, both ends of the range among them."""
    return np.array([0, 7, 2**40 + 3, SEED_LIMIT - 1], dtype=np.int64)


@pytest.fixture
def photo() -> Tensor:
    """``(4, 3, 40, 48)`` with smooth shades and hard edges, within [0.05, 0.95]."""
    shades = smooth_field(torch.arange(12), "photo", (40, 48), octaves=5).view(4, 3, 40, 48)
    return (0.05 + 0.9 * ((shades * 6).floor() / 6 + shades / 6)).clamp(0.05, 0.95)


@pytest.fixture(scope="session")
def scenes() -> dict[str, Tensor]:
    """Photographs of scikit-image by name, the four coloured ones first, ``(3, H, W)`` in [0, 1]."""
    pixels = [np.atleast_3d(getattr(skimage.data, name)()) for name in (*_COLOR, *_GREY)]
    found = [torch.from_numpy(image.copy()).permute(2, 0, 1).expand(3, -1, -1) / 255.0 for image in pixels]
    return dict(zip((*_COLOR, *_GREY), found, strict=True))
