"""Low-rank adapters of a frozen backbone, by PEFT."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from abair_pl.errors import BundleError, InputError
from abair_pl.models.backbone import Backbone

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterConfig:
    """How adapters are made.

    Attributes:
        rank: Rank of the update of each layer.
        alpha: The update is scaled by ``alpha / rank``.

    Raises:
        InputError: A number is not positive.
    """

    rank: int = 4
    alpha: float = 4.0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            message = f"adapter rank is {self.rank} and alpha {self.alpha}; expected both above 0"
            raise InputError(message)


@dataclass(frozen=True)
class LowRankUpdate:
    """The update of one layer: ``delta W = scaling * up @ down``.

    Attributes:
        down: ``(r, in)``, PEFT's A.
        up: ``(out, r)``, PEFT's B.
        scaling: ``alpha / r``.
    """

    down: Tensor
    up: Tensor
    scaling: float


Adapter = dict[str, LowRankUpdate]
"""The updates of an adapter by the name of the backbone's layer."""


def adaptable_layers(backbone: nn.Module) -> list[str]:
    """The layers that adapters update: every 1x1 convolution and linear layer of the restoration path.

    Depth-wise and spatial convolutions stay as they are (a low-rank update of a depth-wise one would be larger than the
    layer), and so does the segmentation head, which adapters must not change.
    """
    return [
        name
        for name, layer in backbone.named_modules()
        if not name.startswith("segmentation_head")
        and (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and _is_pointwise(layer)))
    ]


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == (1, 1) and layer.groups == 1


def attach_adapter(
    backbone: Backbone, name: str, config: AdapterConfig, backbone_sha256: str, start: Path | None = None
) -> Any:
    """Freeze a backbone and add a trainable LoRA (Hu et al., ICLR 2022) to its adaptable layers, in place.

    Args:
        backbone: The backbone; all its own parameters stop being trained.
        name: The adapter's name.
        config: Rank and scaling.
        backbone_sha256: Digest of the backbone's weights, written into the adapter.
        start: Folder of an adapter of the same rank to start from, as PEFT wrote it.

    Returns:
        A ``peft.PeftModel``; calling it restores images.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=adaptable_layers(backbone),
    )
    model = get_peft_model(backbone, lora, adapter_name=name)
    model.peft_config[name].base_model_name_or_path = _base_name(backbone_sha256)
    if start is not None:
        load_adapter(start, backbone_sha256)  # for its checks
        set_peft_model_state_dict(model, load_file(start / "adapter_model.safetensors"), adapter_name=name)
    return model


def _base_name(backbone_sha256: str) -> str:
    return f"abair-backbone-{backbone_sha256}"


def load_adapter(folder: Path, backbone_sha256: str) -> Adapter:
    """Read what PEFT wrote, without importing PEFT.

    Args:
        folder: With ``adapter_config.json`` and ``adapter_model.safetensors``.
        backbone_sha256: Digest of the backbone that the adapter is to be used with.

    Returns:
        The updates, in float32 on the CPU.

    Raises:
        BundleError: A file is missing or damaged, or the adapter belongs to another backbone.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        tensors = load_file(folder / "adapter_model.safetensors")
        base, scaling = config["base_model_name_or_path"], config["lora_alpha"] / config["r"]
        names = dict.fromkeys(key.removeprefix(_PREFIX).partition(".lora_")[0] for key in tensors)
        adapter = {
            name: LowRankUpdate(
                down=tensors[f"{_PREFIX}{name}.lora_A.weight"].float().flatten(1),
                up=tensors[f"{_PREFIX}{name}.lora_B.weight"].float().flatten(1),
                scaling=scaling,
            )
            for name in names
        }
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, SafetensorError) as error:
        message = f"adapter {folder} is missing or damaged ({error}); copy or train it again"
        raise BundleError(message) from error
    if base != _base_name(backbone_sha256):
        message = (
            f"adapter {folder} was trained on {base}; this backbone is {_base_name(backbone_sha256)}: train it again"
        )
        raise BundleError(message)
    return adapter


def stack_updates(updates: list[LowRankUpdate | None], inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Stack the updates of one layer by several adapters, whose ranks may differ.

    Args:
        updates: One for each adapter; None where it does not touch the layer.
        inputs: Input channels of the layer.
        outputs: Its output channels.

    Returns:
        ``down (R, in)``, ``up (out, R)`` with the scalings inside, and ``owner (R,)``, the adapter of each rank.
    """
    present = [(index, update) for index, update in enumerate(updates) if update is not None]
    for _, update in present:
        if update.down.shape[1] != inputs or update.up.shape[0] != outputs:
            found = f"{update.up.shape[0]} x {update.down.shape[1]}"
            message = f"an adapter's layer is {found}, the backbone's {outputs} x {inputs}: train it again"
            raise BundleError(message)
    down = torch.cat([torch.zeros(0, inputs), *(update.down for _, update in present)])
    up = torch.cat([torch.zeros(outputs, 0), *(update.up * update.scaling for _, update in present)], dim=1)
    owner = torch.tensor([index for index, update in present for _ in range(len(update.down))], dtype=torch.int64)
    return down, up, owner
