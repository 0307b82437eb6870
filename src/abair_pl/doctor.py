"""``abair-pl doctor``: what this machine has, and what would break before a long run does."""

import json as json_module
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from abair_pl.data.streaming.beside import samples_in
from abair_pl.data.streaming.sources import expand_shards
from abair_pl.degradations import PAPER_FIVE
from abair_pl.errors import AbairError
from abair_pl.models.backbone import Backbone
from abair_pl.models.estimator import Estimator
from abair_pl.models.presets import preset_config

_PACKAGES = ("torch", "lightning", "torchmetrics", "peft", "kornia", "albumentations", "webdataset", "wandb")


def doctor(preset: str | None = None, shards: str | None = None, output: Path = Path(), json: bool = False) -> int:
    """Check packages, devices, shards and disk before a long run.

    Args:
        preset: Also count this preset's parameters, and its FLOPs for 256 x 256 pixels.
        shards: Also check these shards: a folder, or a path with braces.
        output: Where runs are to be written.
        json: Print one JSON object instead of lines.

    Returns:
        0, or 1 where something would break.
    """
    facts: dict[str, object] = {name: _version(name) for name in _PACKAGES}
    problems = [f"{name} is not installed; run: pip install abair-pl" for name in _PACKAGES if facts[name] is None]
    facts["python"] = platform.python_version()
    facts["cpu_cores"] = os.cpu_count()
    facts["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    facts["bf16_on_gpu"] = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    existing = next(folder for folder in (output.resolve(), *output.resolve().parents) if folder.exists())
    facts["free_disk_gib"] = round(shutil.disk_usage(existing).free / 2**30, 1)
    if not os.access(existing, os.W_OK):
        problems.append(f"{existing} cannot be written to; choose another --output")
    if shards is not None:
        try:
            names = expand_shards(shards)
            facts["shards"], facts["samples"] = len(names), samples_in(names)
        except AbairError as error:
            problems.append(str(error))
    if preset is not None:
        facts |= _size(preset)
    facts["problems"] = problems
    if json:
        print(json_module.dumps(facts))
    else:
        for name, value in facts.items():
            print(f"{name:<24}{value}")
    return AbairError.exit_status if problems else 0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _size(preset: str) -> dict[str, object]:
    architecture = preset_config(preset)
    labels = len(PAPER_FIVE) + 1
    with torch.device("meta"):
        backbone, estimator = Backbone(architecture, labels), Estimator(architecture.estimator_dim, labels)
        with FlopCounterMode(display=False) as counter:
            backbone(torch.empty(1, 3, 256, 256))
    return {
        "backbone_parameters": sum(parameter.numel() for parameter in backbone.parameters()),
        "estimator_parameters": sum(parameter.numel() for parameter in estimator.parameters()),
        "gflops_256x256": round(counter.get_total_flops() / 1e9, 2),
    }
