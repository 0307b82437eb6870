"""What a bundle's ``config.json`` holds, and how it is read and written."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from abair_pl.atomic import write_text
from abair_pl.bundle_files import CONFIG_FILE, check_file, reason
from abair_pl.card.figures import are_figures
from abair_pl.card.text import model_card
from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters import ADAPTER_FILES, AdapterMethod, adapter_method, check_adapter_name
from abair_pl.models.adapters.loading import check_limits
from abair_pl.models.calibration import Calibration
from abair_pl.models.presets import BackboneConfig
from abair_pl.plain_json import read_json

FORMAT_VERSION = 3
_BEFORE_BIASES = 2
"""The same but for the bias of the calibration, which it has not."""

MAX_PARTS = 64
"""Adapters, and degradations, of a bundle."""

MAX_SIZES = {
    "dim": 1024,
    "blocks": 64,
    "refinement_blocks": 64,
    "heads": 64,
    "expansion": 8,
    "window_px": 16,
    "unshuffle": 8,
    "tone_dim": 4096,
    "prompt_dims": 4096,
    "prompt_sizes_px": 512,
    "prompts": 64,
    "head_dim": 4096,
    "head_blocks": 64,
    "estimator_dim": 1024,
}
"""Far beyond the presets: what a user was sent must not take memory and time for what its files do not hold."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:=,+-]{0,99}")
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, InputError)


@dataclass(frozen=True)
class BundleConfig:
    """What ``config.json`` holds.

    Attributes:
        preset: Name of the preset.
        architecture: The backbone's sizes.
        degradations: Those of the segmentation head, in the order of its labels; 0 is clean.
        backbone_sha256: Digest of the backbone's file.
        adapters: How each adapter was made, by name, in the order of the weights.
        adapter_files: The sha256 of the files of each, by adapter and file; of those from before they were recorded,
            none.
        estimated: The adapters that the estimator knows, in the order of its classes, and the sha256 of the weights
            that each had; empty without one.
        estimator_sha256: Digest of the estimator's file; empty without one.
        calibration: How the estimator's logits are read.
        provenance: For each phase, where its weights come from.
        figures: What benchmarks have found, and of which weights, see :func:`abair_pl.card.figures.are_figures`.
        version: Version of this format.
    """

    preset: str
    architecture: BackboneConfig
    degradations: list[str]
    backbone_sha256: str
    adapters: dict[str, AdapterMethod] = field(default_factory=dict)
    adapter_files: dict[str, dict[str, str]] = field(default_factory=dict)
    estimated: dict[str, str] = field(default_factory=dict)
    estimator_sha256: str = ""
    calibration: Calibration = field(default_factory=Calibration)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    version: int = FORMAT_VERSION

    def values(self) -> dict[str, Any]:
        """What the file holds, in JSON's types: an adapter as ``{"method": "lora", "rank": 4, "alpha": 4.0}``."""
        return {**asdict(self), "adapters": {name: made.settings() for name, made in self.adapters.items()}}


def read_config(path: Path) -> BundleConfig:
    """Read and check a bundle's ``config.json``.

    Raises:
        BundleError: It is missing, damaged or of another version, or the class of an adapter method is not known.
    """
    file = path / CONFIG_FILE
    if not os.path.lexists(file):
        raise _missing(path)
    check_file(path, file)
    if not (path / "adapters").resolve().is_relative_to(path.resolve()):
        message = f"{path / 'adapters'} leads out of the bundle; expected a folder in it: copy it without links"
        raise BundleError(message)
    try:
        values = read_json(file)
        if values["version"] in (_BEFORE_BIASES, FORMAT_VERSION):
            return _parsed({**values, "version": FORMAT_VERSION})
    except BundleError as error:  # of an adapter method
        message = f"{file}: {reason(error)}"
        raise BundleError(message) from error
    except _DAMAGE as error:
        message = f"{file} is damaged ({reason(error)}); expected the config.json of a bundle: train or copy it again"
        raise BundleError(message) from error
    found = json.dumps(values["version"])[:20]
    message = (
        f"{file} has version {found}, expected {FORMAT_VERSION}: it was written by another version of abair-pl; "
        "train it again with this one, or use the version that wrote it"
    )
    raise BundleError(message)


def _missing(path: Path) -> BundleError:
    previous = path.with_name(f"{path.name}.previous")
    remedy = (
        "give the folder of one, or no --bundle for the one that ships, or make one by the three phases "
        "(README, Train): abair-pl fit --config configs/pretrain.yaml"
    )
    if (previous / CONFIG_FILE).exists():
        remedy = f"if its replacement was interrupted, rename {previous}, which it was before, or {remedy}"
    return BundleError(f"no bundle at {path} (no config.json); {remedy}")


def _parsed(values: Mapping[str, Any]) -> BundleConfig:
    """The configuration of JSON values, whose lists are tuples in the architecture."""
    sizes: Any = {name: tuple(v) if isinstance(v, list) else v for name, v in values["architecture"].items()}
    if isinstance(estimated := values.get("estimated"), list):  # as it was before weights counted: out of date
        values = {**values, "estimated": dict.fromkeys(estimated, "")}
    _check_types(values)
    adapters = {}
    for name, settings in values["adapters"].items():
        check_adapter_name(name)
        adapters[name] = adapter_method(settings)
        check_limits(adapters[name])
    bias = tuple(values["calibration"].get("bias", ()))
    calibration = Calibration(**{**values["calibration"], "bias": bias})
    architecture = BackboneConfig(**sizes)
    _check_sizes(architecture)
    return BundleConfig(
        **{**values, "architecture": architecture, "adapters": adapters, "calibration": calibration},
    )


def _check_sizes(architecture: BackboneConfig) -> None:
    """Raise ``ValueError`` for the first size beyond :data:`MAX_SIZES`."""
    for name, most in MAX_SIZES.items():
        value = getattr(architecture, name)
        if max(value if isinstance(value, tuple) else (value,)) > most:
            message = f"{name} is {value}, more than {most}"
            raise ValueError(message)


def _check_types(values: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for the first value of another type than :class:`BundleConfig` has."""
    calibration, provenance = values["calibration"], values["provenance"]
    files = values.get("adapter_files", {})
    checks = {
        "preset": isinstance(values["preset"], str),
        "degradations": _texts(values["degradations"]) and all(map(_NAME.fullmatch, values["degradations"])),
        "backbone_sha256": _texts([values["backbone_sha256"]]),
        "estimator_sha256": _texts([values["estimator_sha256"]]),
        "adapters": isinstance(values["adapters"], dict),
        "adapter_files": isinstance(files, dict)
        and all(isinstance(digests, dict) and _texts([*digests.values()]) for digests in files.values())
        and {name for digests in files.values() for name in digests} <= set(ADAPTER_FILES),
        "estimated": isinstance(values["estimated"], dict)
        and _texts([*values["estimated"].values()])
        and all(map(_NAME.fullmatch, values["estimated"])),
        "provenance": isinstance(provenance, dict) and all(isinstance(facts, dict) for facts in provenance.values()),
        "figures": are_figures(values.get("figures", {})),
        "calibration": isinstance(calibration, dict)
        and all(
            type(value) in (int, float) or (key, value) == ("threshold", None)
            for key, value in calibration.items()
            if key != "bias"
        ),
    }
    for name, right in checks.items():
        if not right:
            message = f"{name} is {json.dumps(values[name])[:60]}, which is of another type"
            raise ValueError(message)
    bias, classes = calibration.get("bias", []), len(values["estimated"]) + 1
    if not (isinstance(bias, list) and len(bias) in (0, classes) and all(type(each) in (int, float) for each in bias)):
        message = f"the bias of the calibration is {json.dumps(bias)[:60]}, not {classes} numbers, or none"
        raise ValueError(message)
    for name in ("degradations", "adapters"):
        if len(values[name]) > MAX_PARTS:
            message = f"there are {len(values[name])} {name}, more than {MAX_PARTS}"
            raise ValueError(message)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def write_config(path: Path, config: BundleConfig) -> None:
    """Write the model card and, last, the configuration."""
    write_text(path / "README.md", model_card(config.values()))
    write_text(path / CONFIG_FILE, json.dumps(config.values(), indent=2) + "\n")
