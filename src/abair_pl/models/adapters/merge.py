"""A mixture of adapters, merged into the weights for good."""

from collections.abc import Mapping

import torch

from abair_pl.errors import InputError
from abair_pl.models.adapters.base import adaptable_layer
from abair_pl.models.adapters.updates import Adapter, ConvUpdate
from abair_pl.models.backbone import Backbone


@torch.no_grad()
def merge_adapters(backbone: Backbone, adapters: Mapping[str, Adapter], weights: Mapping[str, float]) -> None:
    """Add ``sum of weight * scaling * up @ down`` to a backbone's weights, in place.

    Args:
        backbone: The backbone that the adapters were trained on.
        adapters: The adapters by name.
        weights: The weight of each; adapters that are not named here are left out.

    Raises:
        InputError: An adapter is a Conv-LoRA, whose update is no matrix.
    """
    for name, weight in weights.items():
        for layer, update in adapters[name].items():
            if isinstance(update, ConvUpdate):
                message = (
                    f"adapter {name} is a Conv-LoRA, which convolves and so cannot be merged into 1x1 convolutions; "
                    "expected LoRA or VeRA: leave it out, or keep the bundle and use --weights with restore"
                )
                raise InputError(message)
            merged = adaptable_layer(backbone, layer).weight
            merged.add_((update.up @ update.down)[:, :, None, None], alpha=weight * update.scaling)
