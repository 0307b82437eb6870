"""``abair-pl doctor``: what this machine has, and what would break before a long run does."""

import json as json_module
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from abair_pl.data.streaming.beside import samples_in
from abair_pl.data.streaming.sources import expand_shards
from abair_pl.degradations import PAPER_FIVE
from abair_pl.errors import AbairError
from abair_pl.models.adapters import adaptable_layers
from abair_pl.models.backbone import Backbone
from abair_pl.models.estimator import Estimator
from abair_pl.models.presets import preset_config

_PACKAGES = ("torch", "lightning", "torchmetrics", "peft", "kornia", "albumentations", "webdataset", "wandb")
_RANKS = (4, 8, 16)
_NEW = 3  # the paper's degradations that come later: snow, jpeg and bit depth
_WIDTH = 42
_LABELS = {
    "backbone_parameters": "backbone",
    "segmentation_head_parameters": "of these the segmentation head",
    **{f"adapter_rank_{rank}_parameters": f"one adapter of rank {rank}" for rank in _RANKS},
    **{f"five_adapters_rank_{rank}_parameters": f"five adapters of rank {rank}" for rank in _RANKS},
    "estimator_parameters": "estimator",
    "whole_parameters": f"whole model with five adapters of rank {_RANKS[0]}",
    "new_parameters": "trained for three new degradations",
    "gflops_256x256": "restoring 256 x 256 pixels",
}
"""What the sizes of a preset are called for people."""


def doctor(preset: str | None = None, shards: str | None = None, output: Path = Path(), json: bool = False) -> int:
    """Check packages, devices, shards and disk before a long run.

    Args:
        preset: Also count this preset's parameters (backbone, adapters, estimator), and its FLOPs for 256 x 256 pixels.
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
    sizes = {} if preset is None else _sizes(preset)
    facts["problems"] = problems
    if json:
        print(json_module.dumps({**facts, **sizes}))
    else:
        lines = {
            name: ", ".join(value) or "none" if isinstance(value, list) else value for name, value in facts.items()
        }
        lines |= {_LABELS[name]: _readable(name, value) for name, value in sizes.items()}
        for name, value in lines.items():
            print(f"{name:<{_WIDTH}}{value}")
    return AbairError.exit_status if problems else 0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _sizes(preset: str) -> dict[str, float]:
    """Numbers of parameters, and GFLOPs of a restoration without adapters, by the names of :data:`_LABELS`.

    A multiply-add is two FLOPs; convolutions and products of matrices are counted.
    """
    architecture = preset_config(preset)
    labels = len(PAPER_FIVE) + 1
    with torch.device("meta"):
        backbone, estimator = Backbone(architecture, labels), Estimator(architecture.estimator_dim, labels)
        later = Estimator(architecture.estimator_dim, labels + _NEW)
        with FlopCounterMode(display=False) as counter:
            backbone(torch.empty(1, 3, 256, 256))
    parameters = dict(backbone.named_parameters())
    by_rank = sum(sum(parameters[f"{name}.weight"].shape[:2]) for name in adaptable_layers(backbone))
    one = {rank: rank * by_rank for rank in _RANKS}
    sizes = {
        "backbone_parameters": _count(backbone),
        "segmentation_head_parameters": sum(
            parameter.numel() for name, parameter in parameters.items() if name.startswith("segmentation_head.")
        ),
        **{f"adapter_rank_{rank}_parameters": count for rank, count in one.items()},
        **{f"five_adapters_rank_{rank}_parameters": 5 * count for rank, count in one.items()},
        "estimator_parameters": _count(estimator),
    }
    return {
        **sizes,
        "whole_parameters": _count(backbone) + 5 * one[_RANKS[0]] + _count(estimator),
        "new_parameters": _NEW * one[_RANKS[0]] + _count(later),
        "gflops_256x256": round(counter.get_total_flops() / 1e9, 2),
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _readable(name: str, size: float) -> str:
    if name.endswith("_parameters"):
        return f"{size / 1e6:>8.2f} M"
    return f"{size:>8.2f} GFLOPs (a multiply-add is two)"
