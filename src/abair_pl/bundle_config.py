"""What a bundle's ``config.json`` holds, and how it is read and written."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from abair_pl.atomic import write_text
from abair_pl.card import model_card
from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters import AdapterMethod, adapter_method, check_adapter_name
from abair_pl.models.calibration import Calibration
from abair_pl.models.presets import BackboneConfig

FORMAT_VERSION = 2

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
        estimated: The adapters that the estimator knows, in the order of its classes, and the sha256 of the weights
            that each had; empty without one.
        estimator_sha256: Digest of the estimator's file; empty without one.
        calibration: How the estimator's logits are read.
        provenance: For each phase, where its weights come from.
        version: Version of this format.
    """

    preset: str
    architecture: BackboneConfig
    degradations: list[str]
    backbone_sha256: str
    adapters: dict[str, AdapterMethod] = field(default_factory=dict)
    estimated: dict[str, str] = field(default_factory=dict)
    estimator_sha256: str = ""
    calibration: Calibration = field(default_factory=Calibration)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = FORMAT_VERSION

    def values(self) -> dict[str, Any]:
        """What the file holds, in JSON's types: an adapter as ``{"method": "lora", "rank": 4, "alpha": 4.0}``."""
        return {**asdict(self), "adapters": {name: made.settings() for name, made in self.adapters.items()}}


def read_config(path: Path) -> BundleConfig:
    """Read and check a bundle's ``config.json``.

    Raises:
        BundleError: It is missing, damaged or of another version, or the class of an adapter method is not known.
    """
    file = path / "config.json"
    try:
        values = json.loads(file.read_text())
        if values["version"] == FORMAT_VERSION:
            return _parsed(values)
    except FileNotFoundError:
        message = f"no bundle at {path} (no config.json); make one: abair-pl fit --config configs/pretrain.yaml"
        raise BundleError(message) from None
    except BundleError as error:  # of an adapter method
        message = f"{file}: {error}"
        raise BundleError(message) from error
    except _DAMAGE as error:
        message = f"{file} is damaged ({error}); expected the config.json of a bundle: train or copy it again"
        raise BundleError(message) from error
    message = (
        f"{file} has version {values['version']}, expected {FORMAT_VERSION}: it was written by another version of "
        "abair-pl; train it again with this one, or use the version that wrote it"
    )
    raise BundleError(message)


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
    calibration = Calibration(**values["calibration"])
    made = {"architecture": BackboneConfig(**sizes), "adapters": adapters, "calibration": calibration}
    return BundleConfig(**{**values, **made})


def _check_types(values: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for the first value of another type than :class:`BundleConfig` has."""
    calibration, provenance = values["calibration"], values["provenance"]
    checks = {
        "preset": isinstance(values["preset"], str),
        "degradations": _texts(values["degradations"]),
        "backbone_sha256": _texts([values["backbone_sha256"]]),
        "estimator_sha256": _texts([values["estimator_sha256"]]),
        "adapters": isinstance(values["adapters"], dict),
        "estimated": isinstance(values["estimated"], dict) and _texts([*values["estimated"].values()]),
        "provenance": isinstance(provenance, dict) and all(isinstance(facts, dict) for facts in provenance.values()),
        "calibration": isinstance(calibration, dict)
        and all(
            type(value) in (int, float) or (key, value) == ("threshold", None) for key, value in calibration.items()
        ),
    }
    for name, right in checks.items():
        if not right:
            message = f"{name} is {json.dumps(values[name])[:60]}, which is of another type"
            raise ValueError(message)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def write_config(path: Path, config: BundleConfig) -> None:
    """Write the model card and, last, the configuration."""
    write_text(path / "README.md", model_card(config.values()))
    write_text(path / "config.json", json.dumps(config.values(), indent=2) + "\n")
