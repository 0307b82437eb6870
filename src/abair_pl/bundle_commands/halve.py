"""``abair-pl bundle halve``: a bundle of half the size, whose weights are rounded to 16 bits."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from abair_pl.atomic import replacing, scratch
from abair_pl.bundle import Bundle
from abair_pl.bundle_config import BundleConfig, write_config
from abair_pl.bundle_files import BACKBONE_FILE, ESTIMATOR_FILE, digests_of
from abair_pl.bundle_output import check_output, is_free
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import InputError
from abair_pl.models.adapters import ADAPTER_FILES, WEIGHTS_FILE
from abair_pl.models.adapters.base import CONFIG_FILE, base_name
from abair_pl.module_files import read_tensors
from abair_pl.plain_json import read_json


def halve(bundle: Path, /, output: Path) -> None:
    """Write a copy of a bundle whose weights are rounded to float16, of half the size.

    It computes in float32, like any other. Its backbone is another one: adapters that are trained on one of the two do
    not fit the other.

    Args:
        bundle: The bundle.
        output: The bundle to write; one that is there is kept as NAME.previous.

    Raises:
        InputError: A weight is too large for float16; or output overlaps the bundle, or is something else than a
            bundle.
        BundleError: There is no bundle, it is damaged, or its estimator is out of date.
    """
    opened = Bundle.open(bundle)
    target = check_output(output, bundle)
    opened.adapters()  # for its checks
    with scratch(target) as folder:
        write_config(folder, _write_rounded(opened, folder))
        with replacing(folder, target, keep=not is_free(target)):
            Bundle.open(target)
    print(f"{output}: {size_bytes(output) / 1e6:.2f} MB, rounded from {size_bytes(bundle) / 1e6:.2f} MB at {bundle}")


def size_bytes(bundle: Path) -> int:
    """What the files of a bundle take, hidden ones left out."""
    return sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file() and not file.name.startswith("."))


def _write_rounded(bundle: Bundle, folder: Path) -> BundleConfig:
    """Write the files of weights of a bundle into a folder, rounded, and give their configuration."""
    config = bundle.config
    backbone = _save_rounded(bundle.backbone().state_dict(), bundle.path / BACKBONE_FILE, folder / BACKBONE_FILE)
    provenance = {**config.provenance, "pretrain": _noted(config, "pretrain", config.backbone_sha256, backbone)}
    files = {}
    for name in config.adapters:
        source = bundle.adapter_folder(name)
        files[name] = _round_adapter(source, folder / "adapters" / name, backbone)
        before, after = file_sha256(source / WEIGHTS_FILE), files[name][WEIGHTS_FILE]
        provenance[f"adapter/{name}"] = _noted(config, f"adapter/{name}", before, after)
    made = replace(config, backbone_sha256=backbone, adapter_files=files, provenance=provenance)
    if not config.estimated:
        return made
    state = bundle.estimator().state_dict()
    estimator = _save_rounded(state, bundle.path / ESTIMATOR_FILE, folder / ESTIMATOR_FILE)
    provenance["estimator"] = _noted(config, "estimator", config.estimator_sha256, estimator)
    estimated = {name: files[name][WEIGHTS_FILE] for name in config.estimated}
    return replace(made, estimated=estimated, estimator_sha256=estimator)


def _round_adapter(source: Path, folder: Path, backbone_sha256: str) -> dict[str, str]:
    """Write an adapter, rounded, for a backbone, and give the digests of its files."""
    folder.mkdir(parents=True)
    _save_rounded(read_tensors(source / WEIGHTS_FILE), source / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    settings = {**read_json(source / CONFIG_FILE), "base_model_name_or_path": base_name(backbone_sha256)}
    (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2))
    return digests_of(folder, ADAPTER_FILES)


def _save_rounded(tensors: Mapping[str, Tensor], source: Path, file: Path) -> str:
    """Write tensors as float16, and give the file's sha256."""
    rounded = {name: value.half().contiguous() for name, value in tensors.items()}
    for name, value in rounded.items():
        if not value.isfinite().all():
            largest, most = tensors[name].abs().max().item(), torch.finfo(torch.float16).max
            message = (
                f"{source}: {name} holds {largest:.4g}, float16 at most {most:.0f}; keep this bundle as it is, or "
                "train it again with a larger weight decay"
            )
            raise InputError(message)
    save_file(rounded, file, {"format": "pt"})
    return file_sha256(file)


def _noted(config: BundleConfig, phase: str, before: str, after: str) -> dict[str, Any]:
    """The facts about a phase, with that its weights were rounded, unless that has changed nothing."""
    facts = config.provenance.get(phase, {})
    if before == after:
        return facts
    kept = {fact: value for fact, value in facts.items() if not fact.startswith("wandb_")}  # it made other weights
    return {**kept, "rounded_to": "float16", "rounded_from": before}
