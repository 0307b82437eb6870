"""The bundle: the directory that carries a model from phase to phase and to the user.

``config.json`` names everything else, with digests, and is written last; every file gets its name when it is complete,
and a save that fails puts back what it had replaced. Of a save that is killed, what ``config.json`` names is found
where it was put aside, and the next save clears up.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from abair_pl.atomic import locked, replacing, scratch
from abair_pl.bundle_config import BundleConfig, read_config, write_config
from abair_pl.bundle_estimator import stored_estimator
from abair_pl.bundle_files import BACKBONE_FILE as BACKBONE_FILE
from abair_pl.bundle_files import ESTIMATOR_FILE as ESTIMATOR_FILE
from abair_pl.bundle_files import check_file, check_part, copy_bundle, digests_of, standing
from abair_pl.bundle_output import check_output, is_free
from abair_pl.bundle_repair import settled
from abair_pl.errors import BundleError, InputError
from abair_pl.models.adapters import ADAPTER_FILES, WEIGHTS_FILE, Adapter, AdapterMethod, load_adapter
from abair_pl.models.adapters.naming import check_adapter_name
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.calibration import Calibration
from abair_pl.models.estimator import Estimator
from abair_pl.module_files import load_module, save_module


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
        folder = Path(path) if Path(path).name else Path(path).resolve()  # "." has no name to write beside
        return cls(folder, read_config(folder))

    def backbone(self) -> Backbone:
        """The backbone with its trained weights.

        Raises:
            BundleError: The file is not the one that the configuration names, or does not fit the architecture.
        """
        config = self.config
        return load_module(
            lambda: Backbone(config.architecture, len(config.degradations) + 1),
            self.path,
            self.path / BACKBONE_FILE,
            config.backbone_sha256,
        )

    def adapters(self, names: list[str] | None = None) -> dict[str, Adapter]:
        """Adapters by name, all in their order if no names are given.

        Raises:
            BundleError: One is missing, damaged, or was trained on another backbone.
        """
        return self._adapters_of(self.backbone(), names)

    def blended(self) -> BlendedBackbone:
        """The backbone with all its adapters, ready to be mixed."""
        backbone = self.backbone()
        return BlendedBackbone(backbone, self._adapters_of(backbone, None))

    def _adapters_of(self, backbone: Backbone, names: list[str] | None) -> dict[str, Adapter]:
        chosen = list(self.config.adapters) if names is None else names
        self.check_adapters(chosen)
        digest = self.config.backbone_sha256
        return {name: load_adapter(self.adapter_folder(name), digest, backbone) for name in chosen}

    def adapter_folder(self, name: str) -> Path:
        """The folder of an adapter, whose files are those that the configuration names.

        Raises:
            BundleError: A file is missing, or another one.
        """
        folder, digests = self._standing_adapter(name), self.config.adapter_files.get(name, {})
        for file in ADAPTER_FILES:
            check_file(self.path, folder / file)
        check_part(self.path, folder, digests)
        return folder

    def _standing_adapter(self, name: str) -> Path:
        return standing(self.path, self.path / "adapters" / name, self.config.adapter_files.get(name, {}))

    def check_adapters(self, names: list[str]) -> None:
        """Raise :class:`BundleError` unless there are adapters of these names."""
        missing = [name for name in names if name not in self.config.adapters]
        if missing:
            message = f"{self.path} has no adapter '{missing[0]}'; it has: {', '.join(self.config.adapters) or 'none'}"
            raise BundleError(message)

    def estimator(self) -> Estimator:
        """The estimator.

        Raises:
            BundleError: Phase III has not been run, or has not seen the adapters that there are now.
        """
        known, present = list(self.config.estimated), list(self.config.adapters)
        if not self.estimator_is_current:
            found = f"estimates {', '.join(known)}" if known else "has no estimator"
            found += " as they were before" if known and known == present else ""
            adapters = ", ".join(present) or "none"
            remedy = "run phase III: configs/estimator.yaml" if present else "run phase II, or choose the blend none"
            message = f"{self.path} {found}, its adapters are {adapters}; {remedy}"
            raise BundleError(message)
        return stored_estimator(self.path, self.config)

    @property
    def estimator_is_current(self) -> bool:
        """Whether there is an estimator of these very adapters: the same names, order and weights."""
        if list(self.config.estimated) != list(self.config.adapters) or not self.config.adapters:
            return False
        try:
            return self.adapter_digests() == self.config.estimated
        except BundleError:
            return False

    def adapter_digests(self) -> dict[str, str]:
        """The sha256 of the weights of each adapter, by name.

        Raises:
            BundleError: A file is missing.
        """
        names = self.config.adapters
        return {name: digests_of(self._standing_adapter(name), [WEIGHTS_FILE])[WEIGHTS_FILE] for name in names}


def shipped_bundle() -> Path:
    """The bundle that ships with the package.

    Raises:
        BundleError: This build has none.
    """
    path = Path(__file__).parent / "weights"
    if not (path / "config.json").exists():
        message = "this build ships no bundle; make one with 'make demo' and pass --bundle runs/demo/bundle"
        raise BundleError(message)
    return path


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

    Raises:
        InputError: The backbone has other labels than clean and the degradations, or there is something else than a
            bundle at the path or at ``<name>.previous``.
    """
    if backbone.labels != len(degradations) + 1:
        names = ", ".join(["clean", *degradations])
        message = f"the backbone has {backbone.labels} labels; expected {names}: name what it was trained on"
        raise InputError(message)
    target = check_output(path)
    with scratch(target) as folder:
        digest = save_module(backbone, folder / BACKBONE_FILE)
        config = BundleConfig(preset, backbone.architecture, degradations, digest, provenance={"pretrain": provenance})
        write_config(folder, config)
        with replacing(folder, target, keep=not is_free(target)):
            bundle = Bundle.open(target)
    return bundle


def save_adapter(
    path: Path, base: Bundle, name: str, model: Any, method: AdapterMethod, provenance: dict[str, Any]
) -> Bundle:
    """Add an adapter to a bundle (phase II), which starts as a copy of ``base`` where there is none yet.

    Several processes may add adapters to one bundle at the same time.

    Args:
        path: The bundle to add to.
        base: The bundle that the adapter was trained on.
        name: The adapter's name; one of that name is replaced.
        model: What the method's ``attach`` gave.
        method: How the adapter was made.
        provenance: Facts about the training.

    Raises:
        BundleError: The bundle at ``path`` has another backbone.
    """
    return insert_adapter(path, base, name, lambda folder: method.save(model, name, folder), method, provenance)


def insert_adapter(
    path: Path,
    base: Bundle,
    name: str,
    write: Callable[[Path], None],
    method: AdapterMethod,
    provenance: dict[str, Any],
    new: bool = False,
) -> Bundle:
    """As :func:`save_adapter`, for an adapter that ``write`` puts into ``<folder>/<name>``; none is replaced if new.

    Raises:
        InputError: The name cannot be an adapter's; or one of that name is there, and it should be new.
    """
    check_adapter_name(name)
    with locked(path) as held:
        current = _current(path, base, held)
        if new and name in current.adapters:
            message = f"{path} has an adapter '{name}' already; remove it first, or choose another --name"
            raise InputError(message)
        made = {**current.adapters, name: method}
        # In the order of the labels, then as they came: trained side by side, they finish in any order.
        adapters = {known: made[known] for known in dict.fromkeys([*current.degradations, *made]) if known in made}
        facts = {**current.provenance, f"adapter/{name}": provenance}
        with scratch(path / "adapters" / name) as folder:
            write(folder)
            files = {**current.adapter_files, name: digests_of(folder / name, ADAPTER_FILES)}
            with replacing(folder / name, path / "adapters" / name):
                write_config(path, replace(current, adapters=adapters, adapter_files=files, provenance=facts))
    return Bundle.open(path)


def save_estimator(
    path: Path,
    base: Bundle,
    estimator: Estimator,
    provenance: dict[str, Any],
    calibration: Calibration = Calibration(),  # noqa: B008 - frozen
) -> Bundle:
    """Put an estimator into a bundle (phase III), which starts as a copy of ``base`` where there is none yet.

    Args:
        path: The bundle to put it into.
        base: The bundle that it was trained on.
        estimator: With its trained weights.
        provenance: Facts about the training.
        calibration: How its logits are read.

    Raises:
        BundleError: The bundle at ``path`` has another backbone, or other adapters.
    """
    with locked(path) as held:
        current = _current(path, base, held, with_adapters=True)
        facts = {**current.provenance, "estimator": provenance}
        digests = base.adapter_digests()
        with scratch(path / ESTIMATOR_FILE) as folder:
            digest = save_module(estimator, folder / ESTIMATOR_FILE)
            with replacing(folder / ESTIMATOR_FILE, path / ESTIMATOR_FILE):
                made = replace(current, estimated=digests, estimator_sha256=digest, calibration=calibration)
                write_config(path, replace(made, provenance=facts))
    return Bundle.open(path)


def _current(path: Path, base: Bundle, held: bool, with_adapters: bool = False) -> BundleConfig:
    """The configuration of the bundle at a path, made as a copy of another where there is none."""
    if not (path / "config.json").exists():
        copy_bundle(base.path, path)
    check_target(path, base, with_adapters)
    return settled(path, held)


def check_target(path: Path, base: Bundle, with_adapters: bool = False) -> None:
    """Refuse to save to a bundle that what is trained on another one does not fit.

    Args:
        path: Where it is to be saved; nothing there is fine.
        base: The bundle that it is trained on.
        with_adapters: The adapters must be the same, too.

    Raises:
        BundleError: The bundle at ``path`` has another backbone or other adapters, or files of adapters are missing.
    """
    if not (path / "config.json").exists():
        return
    current = Bundle.open(path)
    same = current.config.backbone_sha256 == base.config.backbone_sha256
    # The order of adapters counts, too.
    if not same or (with_adapters and [*current.adapter_digests().items()] != [*base.adapter_digests().items()]):
        what = "adapters" if same else "backbone"
        message = f"{path} has other {what} than {base.path}; choose another save_to, or remove the bundle there"
        raise BundleError(message)
