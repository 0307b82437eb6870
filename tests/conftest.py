"""What several test files share: a network of toy size, a bundle of it, photographs and shards, all made here."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.nano import NANO
from torch import nn

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle, save_adapter, save_backbone, save_estimator
from abair_pl.data.shards.build import build_shards
from abair_pl.models.adapters import AdapterMethod, LoRA, attach_adapter
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.estimator import Estimator
from abair_pl.models.presets import BackboneConfig

_NAMES = ["rain", "haze", "noise", "blur", "low_light"]


@pytest.fixture(scope="session", autouse=True)
def lookups() -> Iterator[list[str]]:
    """The hosts that anything in this process asked the address of; none is given."""
    asked: list[str] = []
    original = socket.getaddrinfo

    def refuse(host: Any, *arguments: Any, **options: Any) -> Any:
        if host in ("localhost", "127.0.0.1", "::1"):
            return original(host, *arguments, **options)
        asked.append(str(host))
        message = f"tests do not use the network, but {host} was looked up"
        raise OSError(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refuse)
        yield asked


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def names() -> list[str]:
    """The adapters of the bundle, which are the degradations of its backbone."""
    return list(_NAMES)


@pytest.fixture(scope="session")
def architecture() -> BackboneConfig:
    """A network of a quarter of a million parameters."""
    return NANO


@pytest.fixture(scope="session")
def randomize() -> Callable[..., Any]:
    """Move all parameters of a module off their initial values, so that none is zero."""
    return _randomize


def _randomize(module: nn.Module, seed: int = 0, deviation: float = 0.02) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=deviation)
    return module


@pytest.fixture(scope="session")
def make_backbone() -> Callable[..., Backbone]:
    """A backbone of toy size with random weights; keywords change its architecture."""
    return _make_backbone


def _make_backbone(labels: int = 6, seed: int = 0, **changes: Any) -> Backbone:
    torch.manual_seed(seed)
    backbone: Backbone = _randomize(Backbone(replace(NANO, **changes), labels), seed)
    return backbone.eval()


@pytest.fixture(scope="session")
def make_adapter() -> Callable[..., Any]:
    """A model on a bundle's backbone with an adapter that changes the result, as its method makes it."""
    return _make_adapter


def _make_adapter(bundle: Bundle, name: str, method: AdapterMethod = LoRA(), seed: int = 0) -> Any:  # noqa: B008
    torch.manual_seed(seed)
    model = attach_adapter(bundle.backbone(), name, method, bundle.config.backbone_sha256)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(0.0, 0.1)
    return model.eval()


@pytest.fixture(scope="session")
def backbone_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle after phase I; not to be changed."""
    path = tmp_path_factory.mktemp("pretrained") / "bundle"
    save_backbone(path, _make_backbone(len(_NAMES) + 1), "nano", _NAMES, {"steps": 1})
    return path


@pytest.fixture(scope="session")
def bundle_path(backbone_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle: five adapters of rank 2 and 4 in turn, and an estimator; not to be changed."""
    path = tmp_path_factory.mktemp("complete") / "bundle"
    bundle = Bundle.open(backbone_path)
    for index, name in enumerate(_NAMES):
        method = LoRA(rank=2 + index % 2 * 2, alpha=4.0)
        bundle = save_adapter(path, bundle, name, _make_adapter(bundle, name, method, index), method, {"steps": 2})
    torch.manual_seed(0)
    save_estimator(path, bundle, Estimator(NANO.estimator_dim, len(_NAMES) + 1), {"steps": 3})
    return path


@pytest.fixture
def bundle_copy(bundle_path: Path, tmp_path: Path) -> Path:
    """A complete bundle that the test may change."""
    return Path(shutil.copytree(bundle_path, tmp_path / "copy" / "bundle"))


@pytest.fixture(scope="session")
def bundle(bundle_path: Path) -> Bundle:
    """The complete bundle, opened."""
    return Bundle.open(bundle_path)


@pytest.fixture(scope="session")
def blended(bundle: Bundle) -> BlendedBackbone:
    """The complete bundle's backbone with all its adapters; not to be changed."""
    return bundle.blended().eval()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight small PNGs of smooth colour and some grain; not to be changed."""
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(8):
        generator = np.random.default_rng(index)
        y, x = np.mgrid[0 : 40 + 4 * index, 0:56] / 56.0
        phase = generator.uniform(0.0, 6.0, (3, 1, 1))
        planes = 0.5 + 0.4 * np.sin(phase + 9.0 * generator.random((3, 1, 1)) * x + 7.0 * y)
        grain = generator.normal(0.0, 0.03, planes.shape)
        pixels = np.clip((planes + grain) * 255.0, 0.0, 255.0).astype(np.uint8)
        Image.fromarray(pixels.transpose(1, 2, 0).copy()).save(folder / f"photo-{index}.png")
    return folder


@pytest.fixture(scope="session")
def sample_shards(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``train/`` and ``val/`` shards of small photographs, and the ``photographs/`` themselves."""
    folder = tmp_path_factory.mktemp("shards")
    shutil.copytree(photographs, folder / "photographs")
    build_shards(photographs, folder / "train", samples_per_shard=4, workers=1)
    build_shards(photographs, folder / "val", samples_per_shard=2, workers=1)
    return folder


@pytest.fixture(scope="session")
def paired_shards(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of pairs whose inputs are the photographs at half the contrast."""
    source = tmp_path_factory.mktemp("pairs")
    shutil.copytree(photographs, source / "target")
    (source / "input").mkdir()
    for path in photographs.iterdir():
        Image.open(path).point(lambda value: value // 2 + 64).save(source / "input" / path.name)
    output = tmp_path_factory.mktemp("paired") / "shards"
    build_shards(source, output, layout="paired", samples_per_shard=4, workers=1)
    return output


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., RestorationBatch]:
    """A batch of noisy images, each of the label given for it."""
    return _make_batch


def _make_batch(
    labels: list[int], side: int = 16, seed: int = 0, sigma: float = 0.1, classes: int = len(_NAMES) + 1
) -> RestorationBatch:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(len(labels), 3, side, side, generator=generator)
    degraded = (clean + torch.randn(clean.shape, generator=generator) * sigma).clamp(0.0, 1.0)
    planes = torch.tensor(labels).view(-1, 1, 1).repeat(1, side, side)
    shares = torch.eye(classes)[labels]
    keys = tuple(f"sample-{index}" for index in range(len(labels)))
    return RestorationBatch(clean, degraded, planes, shares, keys, torch.ones(len(labels), dtype=torch.bool))


@pytest.fixture
def strange(bundle_copy: Path) -> Path:
    """A bundle to which every image is unlike any adapter, and whose temperature is 2."""
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "calibration": {"temperature": 2.0, "threshold": 1e6}}))
    return bundle_copy


@pytest.fixture
def layered(bundle_copy: Path) -> Path:
    """A bundle whose estimator finds haze, without haze noise, and without both clean, in any image."""
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    likely = {"clean": 60.0, "haze": 100.0, "noise": 80.0}
    values["calibration"]["bias"] = [likely.get(label, 0.0) for label in ("clean", *values["estimated"])]
    file.write_text(json.dumps(values))
    return bundle_copy
