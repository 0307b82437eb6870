"""The bundle: the directory that carries a model from phase to phase and to the user.

``config.json`` names everything else and is written last, so a bundle is either whole or has no configuration; every
file gets its name when it is complete.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from abair_pl.card import model_card
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError
from abair_pl.models.adapters import Adapter, AdapterConfig, load_adapter
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.estimator import Estimator
from abair_pl.models.presets import BackboneConfig

FORMAT_VERSION = 1
BACKBONE_FILE = "backbone.safetensors"
ESTIMATOR_FILE = "estimator.safetensors"


@dataclass(frozen=True)
class BundleConfig:
    """What ``config.json`` holds.

    Attributes:
        preset: Name of the preset.
        architecture: The backbone's sizes.
        degradations: Those of the segmentation head, in the order of its labels; 0 is clean.
        backbone_sha256: Digest of the backbone's file.
        adapters: The adapters by name, in the order of the weights.
        estimated: The adapters that the estimator knows, in the order of its classes; empty without one.
        estimator_sha256: Digest of the estimator's file; empty without one.
        provenance: For each phase, where its weights come from.
        version: Version of this format.
    """

    preset: str
    architecture: BackboneConfig
    degradations: list[str]
    backbone_sha256: str
    adapters: dict[str, AdapterConfig] = field(default_factory=dict)
    estimated: list[str] = field(default_factory=list)
    estimator_sha256: str = ""
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = FORMAT_VERSION


def read_config(path: Path) -> BundleConfig:
    """Read and check a bundle's ``config.json``.

    Raises:
        BundleError: It is missing, damaged or of another version.
    """
    file = path / "config.json"
    try:
        values = json.loads(file.read_text())
        sizes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.pop("architecture").items()
        }
        adapters = {name: AdapterConfig(**adapter) for name, adapter in values.pop("adapters").items()}
        config = BundleConfig(architecture=BackboneConfig(**sizes), adapters=adapters, **values)
    except FileNotFoundError:
        message = (
            f"no bundle at {path} (it has no config.json); make one with: abair-pl fit --config configs/pretrain.yaml"
        )
        raise BundleError(message) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{file} is damaged ({error}); expected the config.json of a bundle: train or copy it again"
        raise BundleError(message) from error
    if config.version != FORMAT_VERSION:
        message = f"{file} has version {config.version}; expected {FORMAT_VERSION}: update abair-pl"
        raise BundleError(message)
    return config


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Args:
        path: The directory.
        config: Its ``config.json``.
    """

    path: Path
    config: BundleConfig

    @classmethod
    def open(cls, path: Path | str) -> "Bundle":
        """Open a bundle.

        Raises:
            BundleError: It is missing or damaged.
        """
        return cls(Path(path), read_config(Path(path)))

    def backbone(self) -> Backbone:
        """The backbone with its trained weights.

        Raises:
            BundleError: The file is not the one that the configuration names, or does not fit the architecture.
        """
        backbone = Backbone(self.config.architecture, len(self.config.degradations) + 1)
        _load(backbone, self.path / BACKBONE_FILE, self.config.backbone_sha256)
        return backbone

    def adapters(self, names: list[str] | None = None) -> dict[str, Adapter]:
        """Adapters by name, all in their order if no names are given.

        Raises:
            BundleError: One is missing, damaged, or was trained on another backbone.
        """
        chosen = list(self.config.adapters) if names is None else names
        missing = [name for name in chosen if name not in self.config.adapters]
        if missing:
            message = f"{self.path} has no adapter '{missing[0]}'; it has: {', '.join(self.config.adapters) or 'none'}"
            raise BundleError(message)
        folder = self.path / "adapters"
        return {name: load_adapter(folder / name, self.config.backbone_sha256) for name in chosen}

    def blended(self) -> BlendedBackbone:
        """The backbone with all its adapters, ready to be mixed."""
        return BlendedBackbone(self.backbone(), self.adapters())

    def estimator(self) -> Estimator:
        """The estimator.

        Raises:
            BundleError: Phase III has not been run, or has not seen the adapters that there are now.
        """
        known, present = self.config.estimated, list(self.config.adapters)
        if not known or known != present:
            found = f"estimates {', '.join(known)}" if known else "has no estimator"
            adapters = ", ".join(present) or "none"
            message = f"{self.path} {found}, its adapters are {adapters}; run phase III: configs/estimator.yaml"
            raise BundleError(message)
        estimator = Estimator(self.config.architecture.estimator_dim, len(known) + 1)
        _load(estimator, self.path / ESTIMATOR_FILE, self.config.estimator_sha256)
        return estimator


def _load(module: nn.Module, file: Path, sha256: str) -> None:
    """Load safetensors into a module, after a check that the file is the right one."""
    try:
        found = file_sha256(file)
        if found != sha256:
            message = f"{file} has sha256 {found[:12]}..., config.json expects {sha256[:12]}...: copy or train it again"
            raise BundleError(message)
        module.load_state_dict(load_file(file))
    except FileNotFoundError:
        message = f"{file} is missing; copy the whole bundle, or train it again"
        raise BundleError(message) from None
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        message = f"{file} does not fit the bundle's architecture ({first}); copy or train it again"
        raise BundleError(message) from error


def save_backbone(
    path: Path, backbone: Backbone, preset: str, degradations: list[str], provenance: dict[str, Any]
) -> Bundle:
    """Write a new bundle with a backbone (phase I). A bundle that was there is kept as ``<name>.previous``.

    Args:
        path: The directory.
        backbone: With its trained weights.
        preset: The preset's name.
        degradations: In the order of the labels.
        provenance: Facts about the training.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(path) as scratch:
        save_module(backbone, scratch / BACKBONE_FILE)
        digest = file_sha256(scratch / BACKBONE_FILE)
        config = BundleConfig(preset, backbone.architecture, degradations, digest, provenance={"pretrain": provenance})
        _write_config(scratch, config)
        _put(scratch, path)
    return Bundle.open(path)


def save_adapter(
    path: Path, base: Bundle, name: str, model: Any, config: AdapterConfig, provenance: dict[str, Any]
) -> Bundle:
    """Add an adapter to a bundle (phase II), which starts as a copy of ``base`` where there is none yet.

    Several processes may add adapters to one bundle at the same time.

    Args:
        path: The bundle to add to.
        base: The bundle that the adapter was trained on.
        name: The adapter's name; one of that name is replaced.
        model: The ``peft.PeftModel``.
        config: How the adapter was made.
        provenance: Facts about the training.

    Raises:
        BundleError: The bundle at ``path`` has another backbone.
    """
    with _locked(path):
        current = _current(path, base)
        with _scratch(path / "adapters" / name) as scratch:
            # Left to itself PEFT would ask a model hub whether the backbone's vocabulary has grown.
            model.save_pretrained(str(scratch), selected_adapters=[name], save_embedding_layers=False)
            _put(scratch / name, path / "adapters" / name, keep=False)
        adapters = {**current.adapters, name: config}
        facts = {**current.provenance, f"adapter/{name}": provenance}
        _write_config(path, replace(current, adapters=adapters, provenance=facts))
    return Bundle.open(path)


def save_estimator(path: Path, base: Bundle, estimator: Estimator, provenance: dict[str, Any]) -> Bundle:
    """Put an estimator into a bundle (phase III), which starts as a copy of ``base`` where there is none yet.

    Args:
        path: The bundle to put it into.
        base: The bundle that it was trained on.
        estimator: With its trained weights.
        provenance: Facts about the training.

    Raises:
        BundleError: The bundle at ``path`` has another backbone.
    """
    with _locked(path):
        current = _current(path, base)
        partial = path / f".{ESTIMATOR_FILE}.partial"
        save_module(estimator, partial)
        digest = file_sha256(partial)
        os.replace(partial, path / ESTIMATOR_FILE)
        facts = {**current.provenance, "estimator": provenance}
        names = list(base.config.adapters)
        _write_config(path, replace(current, estimated=names, estimator_sha256=digest, provenance=facts))
    return Bundle.open(path)


def save_module(module: nn.Module, file: Path) -> None:
    """Write a module's weights as contiguous float32 safetensors, synced to disk."""
    save_file({name: value.detach().cpu().float().contiguous() for name, value in module.state_dict().items()}, file)
    _sync(file)


def _current(path: Path, base: Bundle) -> BundleConfig:
    """The configuration of the bundle at a path, made as a copy of another where there is none."""
    if not (path / "config.json").exists():
        with _scratch(path) as scratch:
            shutil.copytree(base.path, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "*.partial"))
            path.mkdir(exist_ok=True)
            for entry in sorted(scratch.iterdir(), key=lambda entry: entry.name == "config.json"):
                os.replace(entry, path / entry.name)
    current = read_config(path)
    if current.backbone_sha256 != base.config.backbone_sha256:
        message = f"{path} has another backbone than {base.path}; choose another save_to, or remove the bundle there"
        raise BundleError(message)
    return current


def _write_config(path: Path, config: BundleConfig) -> None:
    """Write the model card and, last, the configuration."""
    for name, text in (
        ("README.md", model_card(asdict(config))),
        ("config.json", json.dumps(asdict(config), indent=2) + "\n"),
    ):
        partial = path / f".{name}.partial"
        partial.write_text(text)
        _sync(partial)
        os.replace(partial, path / name)


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """An empty directory beside a path, on the same file system; removed whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    scratch.chmod(0o755)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put(scratch: Path, path: Path, keep: bool = True) -> None:
    """Move a finished directory to its name; what was there is kept as ``<name>.previous``, or removed."""
    previous = path.with_name(f"{path.name}.previous") if keep else path.with_name(f".{path.name}.replaced")
    if path.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(path, previous)
    os.rename(scratch, path)
    if not keep:
        shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a bundle for writing against other processes."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
