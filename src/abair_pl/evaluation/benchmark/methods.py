"""From a row of a suite to what restores images: a bundle, or a classical method."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from safetensors import safe_open
from torch import Tensor

from abair_pl import __version__
from abair_pl.bundle import BACKBONE_FILE, ESTIMATOR_FILE, Bundle, shipped_bundle
from abair_pl.degradations import Plan
from abair_pl.errors import InputError, unknown_name
from abair_pl.evaluation.benchmark.classical import ClassicalMethod
from abair_pl.evaluation.classical.registry import classical_method
from abair_pl.evaluation.suite import MAIN_BUNDLE, Method, Suite
from abair_pl.models.adapters import WEIGHTS_FILE
from abair_pl.restore import Abair
from abair_pl.restore_options import BLIND_BLENDS, ESTIMATED_BLENDS
from abair_pl.result import Result

_ORACLE = "oracle"


class Restorer(Protocol):
    """What restores images for a row of a suite."""

    @property
    def method(self) -> Method:
        """What was asked for."""

    @property
    def key(self) -> str:
        """A digest of all that shapes its results."""

    def is_for(self, oracle: str) -> bool:
        """Whether it is meant for a task of this degradation; empty where there is no single one."""

    def check(self, oracle: str, made: str) -> None:
        """Raise where it cannot restore a task that it is meant for.

        Args:
            oracle: The degradation of the task.
            made: The degradation that was made here; empty for real pairs as they are.

        Raises:
            AbairError: It cannot.
        """

    def restore(self, degraded: Tensor, oracle: str, plan: Plan | None) -> tuple[Result, bool | None]:
        """The restored image, and whether the estimator found the damage unlike any adapter; None if it was not asked.

        Args:
            degraded: ``(3, H, W)`` in [0, 1].
            oracle: The degradation of the task.
            plan: By which the image was degraded, where it was here.
        """

    @property
    def parameters(self) -> int | None:
        """How many numbers its model has; None for no model."""

    @property
    def source(self) -> str:
        """What :attr:`facts` are about."""

    @property
    def facts(self) -> str:
        """What it is, in one line."""

    @property
    def run(self) -> str:
        """What else shapes results, in one line."""


@dataclass(frozen=True)
class BundleMethod:
    """A bundle and how its adapters are mixed.

    Attributes:
        method: What was asked for.
        model: The bundle, ready to restore.
        key: A digest of all that shapes its results.
    """

    method: Method
    model: Abair
    key: str

    def blend(self, oracle: str) -> str:
        """The blend for a task, whose adapter is ``oracle``.

        Raises:
            InputError: The bundle cannot restore so.
        """
        blend = self.method.blend
        model = self.model
        if blend == _ORACLE:
            if oracle not in model.names:
                there = ", ".join(model.names)
                named = (
                    f"there is no adapter '{oracle}' (there are: {there})" if oracle else "no single adapter is for it"
                )
                raise InputError(named)
            return oracle
        if blend in ESTIMATED_BLENDS:
            model.estimator()
        if blend == "pixel" and not model.bundle.config.architecture.head_dim:
            message = "the bundle has no segmentation head"
            raise InputError(message)
        return blend

    def is_for(self, oracle: str) -> bool:
        """It is blind, and meant for all."""
        return True

    def check(self, oracle: str, made: str) -> None:
        """As :meth:`Restorer.check`."""
        self.blend(oracle)

    def restore(self, degraded: Tensor, oracle: str, plan: Plan | None = None) -> tuple[Result, bool | None]:
        """As :meth:`Restorer.restore`; it is blind, and leaves the plan alone."""
        result = self.model.restore(degraded, self.blend(oracle), with_labels=False)
        asked = self.method.blend in BLIND_BLENDS
        return result, result.unknown if asked else None

    @property
    def parameters(self) -> int:
        """Numbers in the files that the method needs: the backbone, and unless it is alone, adapters and estimator."""
        path, blend = self.model.bundle.path, self.method.blend
        files = [path / BACKBONE_FILE]
        if blend != "none":
            files += [path / "adapters" / name / WEIGHTS_FILE for name in self.model.names]
        if blend in ESTIMATED_BLENDS or (blend == "pixel" and self.model.bundle.estimator_is_current):
            files.append(path / ESTIMATOR_FILE)
        return sum(map(_numbers_in, files))

    @property
    def source(self) -> str:
        """Which bundle it is."""
        return f"bundle {self.method.bundle}"

    @property
    def facts(self) -> str:
        """What its bundle is, in one line."""
        config = self.model.bundle.config
        steps = ", ".join(f"{phase} {facts['steps']}" for phase, facts in config.provenance.items() if "steps" in facts)
        digest = config.backbone_sha256[:12]
        return (
            f"preset {config.preset}, backbone {digest}, adapters {', '.join(self.model.names)}; steps: {steps or '-'}"
        )

    @property
    def run(self) -> str:
        """What else shapes results, in one line."""
        model = self.model
        tiles = f"tiles of {model.tile_px} px that overlap by {model.overlap_px} px"
        return f"abair-pl {__version__}, {model.device.type}, {tiles}"


def open_methods(
    suite: Suite, bundles: Mapping[str, Path], device: Literal["auto", "cpu", "cuda"], tile_px: int, overlap_px: int
) -> tuple[dict[str, Restorer], dict[str, str]]:
    """What restores for each row, and why there is none for others.

    Args:
        suite: What is to be measured.
        bundles: By name; :data:`MAIN_BUNDLE` is the one that ships with the package if left out.
        device: ``auto`` takes a GPU where there is one.
        tile_px: Images with a longer side are done in tiles of this side.
        overlap_px: How far neighbouring tiles reach into each other.

    Raises:
        BundleError: A bundle that was given is missing or damaged.
        InputError: A bundle has a name that the suite does not use, or a blend or classical method is not known.
    """
    used = {method.bundle for method in suite.methods.values() if not method.classical}
    if bundles and not used:
        message = (
            f"no method of this suite takes a bundle; expected none, found {', '.join(map(str, bundles.values()))}"
        )
        raise InputError(message)
    for name in bundles.keys() - used:
        raise unknown_name(name, "bundle of this suite", sorted(used))
    models: dict[str, tuple[Abair, str]] = {}
    found: dict[str, Restorer] = {}
    missing: dict[str, str] = {}
    for name, method in suite.methods.items():
        if method.classical:
            classical = classical_method(method.classical)
            if classical.installed is None:
                missing[name] = f"{classical.package} is not installed; pip install 'abair-pl[classical]'"
            else:
                found[name] = ClassicalMethod(method, classical)
            continue
        if method.bundle not in bundles and method.bundle != MAIN_BUNDLE:
            missing[name] = f"no bundle '{method.bundle}'; give --bundle {method.bundle}=DIR"
            continue
        if method.bundle not in models:
            bundle = Bundle.open(bundles.get(method.bundle) or shipped_bundle())
            models[method.bundle] = Abair(bundle, device, tile_px, overlap_px), _digest(bundle)
        model, digest = models[method.bundle]
        if method.blend not in (known := [_ORACLE, *model.blends]):
            raise unknown_name(method.blend, f"blend of method {name}", known)
        parts = (digest, method.blend, tile_px, overlap_px, model.device.type, __version__)
        found[name] = BundleMethod(method, model, hashlib.sha256(repr(parts).encode()).hexdigest())
    return found, missing


def parse_bundles(given: Sequence[str]) -> dict[str, Path]:
    """``DIR``, the main bundle, and ``NAME=DIR``, each name once.

    Raises:
        InputError: A name is given twice.

    Examples:
        >>> parse_bundles(["runs/bundle", "added=runs/eight"])
        {'main': PosixPath('runs/bundle'), 'added': PosixPath('runs/eight')}
    """
    bundles: dict[str, Path] = {}
    for text in given:
        name, joint, path = text.partition("=")
        if not joint or "/" in name:  # a directory may have the sign in its name
            name, path = MAIN_BUNDLE, text
        if name in bundles:
            message = f"bundle '{name}' is given twice; expected each once, others as --bundle NAME=DIR"
            raise InputError(message)
        bundles[name] = Path(path)
    return bundles


def _digest(bundle: Bundle) -> str:
    """Of all that restores: the files of weights and how they are read."""
    config = bundle.config
    parts = (config.backbone_sha256, bundle.adapter_digests(), config.estimator_sha256, config.calibration)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _numbers_in(file: Path) -> int:
    with safe_open(file, "pt") as stored:
        return sum(math.prod(stored.get_slice(name).get_shape()) for name in stored.keys())  # noqa: SIM118
