"""A bundle with an adapter of each method."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abair_pl.bundle import Bundle, save_adapter
from abair_pl.models.adapters import AdapterMethod, ConvLoRA, LoRA, VeRA

METHODS: dict[str, AdapterMethod] = {
    "rain": LoRA(rank=2, alpha=6.0),
    "haze": VeRA(rank=7, seed=3),
    "noise": ConvLoRA(rank=3, alpha=5.0, experts=4),
    "blur": ConvLoRA(rank=2, alpha=2.0, experts=2),
}


@pytest.fixture(scope="session")
def methods() -> dict[str, AdapterMethod]:
    """How the adapters of the mixed bundle were made."""
    return METHODS


@pytest.fixture(scope="session")
def mixed(backbone_path: Path, make_adapter: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with an adapter of each method; not to be changed."""
    path, bundle = tmp_path_factory.mktemp("mixed") / "bundle", Bundle.open(backbone_path)
    for index, (name, method) in enumerate(METHODS.items()):
        bundle = save_adapter(path, bundle, name, make_adapter(bundle, name, method, index), method, {"steps": 2})
    return bundle
