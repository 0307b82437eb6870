"""Adapters of a frozen backbone: LoRA, VeRA and Conv-LoRA behind one interface."""

from abair_pl.models.adapters.base import (
    ADAPTER_FILES,
    WEIGHTS_FILE,
    AdapterMethod,
    adaptable_layer,
    adaptable_layers,
    adapter_method,
)
from abair_pl.models.adapters.conv_lora import ConvLoRA
from abair_pl.models.adapters.loading import attach_adapter, load_adapter, read_method
from abair_pl.models.adapters.lora import LoRA
from abair_pl.models.adapters.merge import merge_adapters
from abair_pl.models.adapters.naming import check_adapter_name
from abair_pl.models.adapters.updates import Adapter, ConvUpdate, LowRankUpdate, Stack, stack_updates
from abair_pl.models.adapters.vera import VeRA, as_linear

__all__ = [
    "ADAPTER_FILES",
    "Adapter",
    "AdapterMethod",
    "ConvLoRA",
    "ConvUpdate",
    "LoRA",
    "LowRankUpdate",
    "Stack",
    "VeRA",
    "WEIGHTS_FILE",
    "adaptable_layer",
    "adaptable_layers",
    "adapter_method",
    "as_linear",
    "attach_adapter",
    "check_adapter_name",
    "load_adapter",
    "merge_adapters",
    "read_method",
    "stack_updates",
]
