"""How large a preset is."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from abair_pl.degradations import PAPER_FIVE
from abair_pl.doctor.page import Line, Section
from abair_pl.models.adapters import adaptable_layers
from abair_pl.models.backbone import Backbone
from abair_pl.models.estimator import Estimator
from abair_pl.models.presets import preset_config

_RANKS = (4, 8, 16)
_NEW = 3  # the paper's degradations that come later: snow, jpeg and bit depth
_LABELS = {
    "backbone_parameters": "backbone",
    "segmentation_head_parameters": "segmentation head",
    **{f"adapter_rank_{rank}_parameters": f"adapter, rank {rank}" for rank in _RANKS},
    **{f"five_adapters_rank_{rank}_parameters": f"five adapters, rank {rank}" for rank in _RANKS},
    "estimator_parameters": "estimator",
    "whole_parameters": "whole model",
    "new_parameters": "three new ones",
    "gflops_256x256": "256 x 256 pixels",
}
"""What the sizes of a preset are called for people."""

_NOTES = {
    "segmentation_head_parameters": "of the backbone",
    "whole_parameters": f"with five adapters of rank {_RANKS[0]}",
    "new_parameters": "trained for three new degradations",
}


def check_sizes(preset: str) -> Section:
    """Count a preset's parameters, and the FLOPs of a restoration.

    Raises:
        InputError: The preset is not known.
    """
    sizes = _sizes(preset)
    return Section(f"Preset {preset}", [_readable(name, size) for name, size in sizes.items()], dict(sizes))


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


def _readable(name: str, size: float) -> Line:
    if not name.endswith("_parameters"):
        return Line(_LABELS[name], f"{size:>8.2f} GFLOPs (a multiply-add is two)")
    note = f", {_NOTES[name]}" if name in _NOTES else ""
    return Line(_LABELS[name], f"{size / 1e6:>8.2f} M{note}")
