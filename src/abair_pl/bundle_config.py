"""What a bundle's ``config.json`` holds, and how it is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters import AdapterConfig
from abair_pl.models.presets import BackboneConfig

FORMAT_VERSION = 1


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
        if values["version"] == FORMAT_VERSION:
            return _parsed(values)
    except FileNotFoundError:
        message = f"no bundle at {path} (no config.json); make one: abair-pl fit --config configs/pretrain.yaml"
        raise BundleError(message) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputError) as error:
        message = f"{file} is damaged ({error}); expected the config.json of a bundle: train or copy it again"
        raise BundleError(message) from error
    message = f"{file} has version {values['version']}; expected {FORMAT_VERSION}: update abair-pl"
    raise BundleError(message)


def _parsed(values: Mapping[str, Any]) -> BundleConfig:
    """The configuration of JSON values, whose lists are tuples in the architecture."""
    sizes: Any = {name: tuple(v) if isinstance(v, list) else v for name, v in values["architecture"].items()}
    adapters = {name: AdapterConfig(**adapter) for name, adapter in values["adapters"].items()}
    return BundleConfig(**{**values, "architecture": BackboneConfig(**sizes), "adapters": adapters})
