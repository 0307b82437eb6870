"""``abair-pl adapters``: the adapters of a bundle, listed, added, removed and merged, as typed functions."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from abair_pl.atomic import locked, scratch
from abair_pl.bundle import Bundle, insert_adapter, save_backbone
from abair_pl.bundle_config import write_config
from abair_pl.bundle_files import ESTIMATOR_FILE
from abair_pl.bundle_output import check_output
from abair_pl.bundle_repair import settled
from abair_pl.errors import InputError
from abair_pl.models.adapters import ADAPTER_FILES, check_adapter_name, merge_adapters, read_method
from abair_pl.models.weights import fixed_weights, parse_weights

Value = TypeVar("Value")


def list_adapters(bundle: Path, /) -> None:
    """List the adapters of a bundle, and whether its estimator knows them.

    Args:
        bundle: The bundle.

    Raises:
        BundleError: There is none, or it is damaged.
    """
    opened = Bundle.open(bundle)
    for name, made in opened.config.adapters.items():
        files = [opened.path / "adapters" / name / file for file in ADAPTER_FILES]
        size = "missing: remove it, or train it again"
        if all(file.exists() for file in files):
            size = f"{sum(file.stat().st_size for file in files) / 1e6:.2f} MB"
        settings = ", ".join(f"{key} {value}" for key, value in made.settings().items() if key != "method")
        print(f"{name:<12} {made.name:<10} {settings:<32} {size}")
    print(f"estimator: {_estimator(opened)}")


def _estimator(bundle: Bundle) -> str:
    known, present = list(bundle.config.estimated), list(bundle.config.adapters)
    if not known:
        return "none, run phase III"
    if known != present:
        return f"out of date, run phase III (it knows {', '.join(known)})"
    gone = [name for name in present if not all((bundle.path / "adapters" / name / f).exists() for f in ADAPTER_FILES)]
    if gone:
        return f"not usable, files of {', '.join(gone)} are missing"
    if not (bundle.path / ESTIMATOR_FILE).exists():
        return f"missing ({ESTIMATOR_FILE}), run phase III"
    if not bundle.estimator_is_current:
        return "out of date, run phase III (adapters have changed since)"
    return "up to date"


def add_adapter(bundle: Path, /, source: Path, name: str | None = None) -> None:
    """Add an adapter to a bundle; nothing else in it changes but config.json and README.md.

    Args:
        bundle: The bundle.
        source: The adapter's folder, as training writes it, or another bundle that has the adapter.
        name: The adapter's name; the folder's if left out. From a bundle, the adapter of this name is taken.

    Raises:
        InputError: The name cannot be an adapter's, or is taken.
        BundleError: A bundle or the adapter is missing or damaged, or the adapter was trained on another backbone.
    """
    target = Bundle.open(bundle)
    folder, facts = _source(source, name)
    chosen = name or folder.name
    check_adapter_name(chosen)
    method = read_method(folder, target.config.backbone_sha256, target.backbone())
    insert_adapter(bundle, target, chosen, partial(_copy, folder, chosen), method, facts, new=True)
    print(f"{bundle}: added {chosen}")
    list_adapters(bundle)


def _source(source: Path, name: str | None) -> tuple[Path, dict[str, Any]]:
    """The folder of an adapter, and the facts about its training."""
    source = source.resolve()
    if not (source / "config.json").exists():
        return source, {"added_from": source.name}
    other = Bundle.open(source)
    if name is None:
        message = f"{source} is a bundle; expected --name, one of: {', '.join(other.config.adapters) or 'none'}"
        raise InputError(message)
    other.check_adapters([name])
    return other.adapter_folder(name), other.config.provenance.get(f"adapter/{name}", {})


def _copy(source: Path, name: str, folder: Path) -> None:
    (folder / name).mkdir()
    for file in ADAPTER_FILES:
        shutil.copyfile(source / file, folder / name / file)


def remove_adapter(bundle: Path, /, name: str) -> None:
    """Take an adapter out of a bundle.

    Args:
        bundle: The bundle.
        name: The adapter's name.

    Raises:
        BundleError: There is no bundle, or it has no such adapter.
    """
    Bundle.open(bundle)  # before a folder is made for the lock
    with locked(bundle) as held:
        Bundle.open(bundle).check_adapters([name])
        current = settled(bundle, held)
        adapters, files = _without(current.adapters, name), _without(current.adapter_files, name)
        facts = _without(current.provenance, f"adapter/{name}")
        with scratch(bundle / "adapters" / name) as folder:
            write_config(bundle, replace(current, adapters=adapters, adapter_files=files, provenance=facts))
            if (bundle / "adapters" / name).exists():
                os.replace(bundle / "adapters" / name, folder / name)
    print(f"{bundle}: removed {name}")
    list_adapters(bundle)


def _without(entries: Mapping[str, Value], name: str) -> dict[str, Value]:
    return {known: value for known, value in entries.items() if known != name}


def merge(bundle: Path, /, weights: str, output: Path) -> None:
    """Write a bundle whose backbone has a mixture of adapters merged in, for good and at no cost in speed.

    It has no adapters; its segmentation head reads features that the mixture has changed.

    Args:
        bundle: The bundle.
        weights: The mixture, such as rain=0.7,noise=0.3.
        output: The bundle to write; one that is there is kept as NAME.previous.

    Raises:
        InputError: The weights have another form, name no adapter, or name a Conv-LoRA; or output overlaps the
            bundle, or is something else than a bundle.
        BundleError: There is no bundle, or it is damaged.
    """
    mixture = parse_weights(weights)
    opened = Bundle.open(bundle)
    config = opened.config
    fixed_weights(mixture, list(config.adapters), 1)  # for its checks
    check_output(output, bundle)
    backbone = opened.backbone()
    merge_adapters(backbone, opened.adapters(list(mixture)), mixture)
    pretrain = config.provenance.get("pretrain", {})
    facts = {fact: value for fact, value in pretrain.items() if not fact.startswith("wandb_")}  # it made other weights
    facts |= {"merged": weights, "merged_into": config.backbone_sha256}
    save_backbone(output, backbone, config.preset, config.degradations, facts)
    print(f"{output}: {config.preset} backbone with {weights} merged in; restore with --blend none")
