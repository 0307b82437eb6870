"""What an ablation compares, read from YAML."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from abair_pl.errors import InputError, one_line, unknown_name
from abair_pl.evaluation.published import published_table
from abair_pl.models.weights import BLEND_MODES

Options = dict[str, Any]
_Made = TypeVar("_Made")

PHASES = ("pretrain", "adapter", "estimator")
BLENDS = (*BLEND_MODES, "none", "oracle")
_OWN = {
    "seed_everything": "--seeds",
    "data.seed": "--seeds",
    "model.preset": "--preset",
    "model.save_to": "--output",
    "model.init_from": "--output",
    "model.degradation": "model.degradations of pretrain",
    "trainer.default_root_dir": "--output",
    "trainer.logger.save_dir": "--output",
    "trainer.logger.name": "--output",
    "ckpt_path": "--output",
    "resume": "--output",
}


@dataclass(frozen=True)
class PhaseOptions:
    """Options of ``abair-pl fit`` for each phase, such as ``{"trainer.max_steps": 1000}``.

    Attributes:
        every: For all three.
        pretrain: For phase I.
        adapter: For phase II.
        estimator: For phase III.

    Raises:
        InputError: One is not a mapping, or has an option that the ablation sets itself.
    """

    every: Options = field(default_factory=dict)
    pretrain: Options = field(default_factory=dict)
    adapter: Options = field(default_factory=dict)
    estimator: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        for phase in ("every", *PHASES):
            options = getattr(self, phase)
            if not isinstance(options, dict):
                message = f"the options of {phase} are {options!r}; expected a mapping such as trainer.max_steps: 1000"
                raise InputError(message)
            for name in options.keys() & _OWN.keys():
                message = f"{phase} has the option {name}, which the ablation sets itself; use {_OWN[name]}"
                raise InputError(message)

    def of(self, phase: str) -> Options:
        """The options of a phase, those for all three first."""
        return {**self.every, **getattr(self, phase)}


@dataclass(frozen=True)
class Variant:
    """A row of an ablation.

    Attributes:
        title: First cell of the row.
        blend: How its adapters are mixed when it is measured, one of :data:`BLENDS`.
        published: The row of the paper's table beside it; empty for none.
        options: What its training changes; variants that change the same share their training.

    Raises:
        InputError: The blend is not known.
    """

    title: str
    blend: str = "soft"
    published: str = ""
    options: PhaseOptions = PhaseOptions()

    def __post_init__(self) -> None:
        if self.blend not in BLENDS:
            raise unknown_name(str(self.blend), "blend", BLENDS)


@dataclass(frozen=True)
class Ablation:
    """What is compared.

    Attributes:
        title: Heading of the table.
        suite: What variants are measured on.
        variants: By a short name, in the order of the rows.
        published: Name of the paper's table; empty for none.
        configs: Folder of the configurations of the phases.

    Raises:
        InputError: There are no variants, a name cannot be a file's, or a published table or row is not known.
    """

    title: str
    suite: Path
    variants: dict[str, Variant]
    published: str
    configs: Path

    def __post_init__(self) -> None:
        if not self.variants:
            message = f"ablation '{self.title}' has no variants; expected at least one"
            raise InputError(message)
        rows = [row.method for row in published_table(self.published).rows] if self.published else []
        for name, variant in self.variants.items():
            if not re.fullmatch(r"\w[\w.-]*", str(name)):
                message = f"a variant is called '{name}'; expected letters, digits, '_', '-' and '.'"
                raise InputError(message)
            if variant.published and variant.published not in rows:
                raise unknown_name(variant.published, f"row of published table '{self.published}'", rows)

    def only(self, names: Sequence[str] | None) -> Self:
        """The ablation with some of its variants, in their order; with all of them for None.

        Raises:
            InputError: There is none of such a name.
        """
        for name in names or []:
            if name not in self.variants:
                raise unknown_name(name, "variant", self.variants)
        kept = {name: variant for name, variant in self.variants.items() if names is None or name in names}
        return replace(self, variants=kept)


def read_ablation(path: Path) -> Ablation:
    """Read an ablation, see ``configs/ablation/``; its paths are relative to the file.

    Raises:
        InputError: There is no such file, or it is no ablation.
    """

    def make(
        title: str, suite: str, variants: dict[str, dict[str, Any]], published: str = "", configs: str = ".."
    ) -> Ablation:
        made = {str(name): _variant(**values) for name, values in variants.items()}
        return Ablation(title, path.parent / suite, made, published, path.parent / configs)

    return _read(path, make, "an ablation")


def read_scale(path: Path) -> PhaseOptions:
    """Read how large an ablation's runs are, see ``configs/ablation/scale/``.

    Raises:
        InputError: There is no such file, or it has other keys than the phases.
    """
    return _read(path, PhaseOptions, "a scale")


def _variant(options: dict[str, Options] | None = None, **values: str) -> Variant:
    return Variant(**values, options=PhaseOptions(**(options or {})))


def _read(path: Path, make: Callable[..., _Made], kind: str) -> _Made:
    try:
        return make(**yaml.safe_load(path.read_text()))
    except InputError as error:
        message = f"{path}: {error}"
        raise InputError(message) from error
    except (OSError, UnicodeError, yaml.YAMLError, TypeError, AttributeError) as error:
        message = f"{path} is not {kind} ({one_line(str(error))}); expected YAML as in configs/ablation/"
        raise InputError(message) from error
