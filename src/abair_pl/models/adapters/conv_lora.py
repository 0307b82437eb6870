"""Conv-LoRA: a low-rank update that looks at neighbouring pixels, too. PEFT has none."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors.torch import save_file
from torch import Tensor, nn

from abair_pl.models.adapters.base import (
    CONFIG_FILE,
    KEY_PREFIX,
    WEIGHTS_FILE,
    AdapterMethod,
    adaptable_layer,
    adaptable_layers,
    base_name,
    layer_names,
)
from abair_pl.models.adapters.experts import ConvExperts
from abair_pl.models.adapters.updates import Adapter, ConvUpdate
from abair_pl.models.backbone import Backbone

_EXPERTS = ("gate_weight", "gate_bias", "kernels", "biases")


class ConvLoRALayer(nn.Module):
    """A frozen 1x1 convolution with a trained update ``scaling * B (u + E(u))``, ``u = A x``.

    Args:
        conv: The convolution; B starts at zero, so that nothing changes at first.
        method: Rank, scaling and number of experts.
    """

    def __init__(self, conv: nn.Conv2d, method: "ConvLoRA") -> None:
        super().__init__()
        self.base = conv
        self.scaling = method.alpha / method.rank
        self.lora_A = nn.Conv2d(conv.in_channels, method.rank, 1, bias=False)
        self.lora_B = nn.Conv2d(method.rank, conv.out_channels, 1, bias=False)
        self.lora_experts = ConvExperts([method.rank], method.experts)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)
        for kernel in self.lora_experts.kernels:
            nn.init.kaiming_uniform_(kernel, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, H, W)``."""
        u = self.lora_A(x)
        y: Tensor = self.base(x) + self.scaling * self.lora_B(u + self.lora_experts(u))
        return y


class ConvLoRAModel(nn.Module):
    """A backbone with Conv-LoRA in its adaptable layers.

    Args:
        backbone: The backbone; it is frozen and changed in place.
        method: How the adapter is made.
        backbone_sha256: Digest of the backbone's weights.
    """

    def __init__(self, backbone: Backbone, method: "ConvLoRA", backbone_sha256: str) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.method = method
        self.backbone_sha256 = backbone_sha256
        for layer in adaptable_layers(backbone):
            backbone.set_submodule(layer, ConvLoRALayer(adaptable_layer(backbone, layer), method))

    def forward(self, degraded: Tensor) -> Tensor:
        """Restore ``(B, 3, H, W)`` RGB in [0, 1]."""
        restored: Tensor = self.backbone(degraded)
        return restored


@dataclass(frozen=True)
class ConvLoRA(AdapterMethod):
    """Conv-LoRA (Zhong et al., ICLR 2024, section 3.2): a mixture of convolutions inside LoRA's bottleneck.

    ``y = W x + alpha / rank * B (u + E(u))``, ``u = A x``; :class:`abair_pl.models.adapters.experts.ConvExperts` is E.

    Attributes:
        rank: Rank of the update of each layer.
        alpha: The update is scaled by ``alpha / rank``.
        experts: Number of experts, of scales 1 to this.
    """

    name: ClassVar[str] = "conv_lora"
    peft_type: ClassVar[str] = "CONV_LORA"
    trained: ClassVar[tuple[str, ...]] = (".lora_",)

    alpha: float = 4.0
    experts: int = 4

    def __post_init__(self) -> None:
        self.check_positive("rank", "alpha", "experts")

    def attach(self, backbone: Backbone, name: str, backbone_sha256: str) -> nn.Module:
        return ConvLoRAModel(backbone, self, backbone_sha256)

    def start_from(self, model: ConvLoRAModel, name: str, tensors: Mapping[str, Tensor]) -> None:
        model.backbone.load_state_dict(
            {key.removeprefix(KEY_PREFIX): value for key, value in tensors.items()}, strict=False
        )

    def save(self, model: ConvLoRAModel, name: str, folder: Path) -> None:
        tensors = {
            KEY_PREFIX + key: value.detach().cpu().contiguous()
            for key, value in model.backbone.state_dict().items()
            if any(part in key for part in self.trained)
        }
        config = {
            "base_model_name_or_path": base_name(model.backbone_sha256),
            "peft_type": self.peft_type,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "experts": self.experts,
        }
        (folder / name).mkdir()
        save_file(tensors, folder / name / WEIGHTS_FILE, {"format": "pt"})
        (folder / name / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def from_file(cls, config: Mapping[str, Any]) -> Self:
        return cls(config["r"], config["lora_alpha"], config["experts"])

    def read(self, tensors: Mapping[str, Tensor], backbone: nn.Module) -> Adapter:
        adapter: Adapter = {}
        for layer in layer_names(tensors, ".lora_"):
            down, up = (tensors[f"{KEY_PREFIX}{layer}.lora_{side}.weight"].flatten(1) for side in "AB")
            gate_weight, gate_bias, kernels, biases = (
                tensors[f"{KEY_PREFIX}{layer}.lora_experts.{part}"] for part in _EXPERTS
            )
            if (len(gate_weight), len(gate_bias), len(kernels)) != (1, 1, self.experts):
                message = (
                    f"{layer} has {len(kernels)} experts and {len(gate_weight)} gates; expected {self.experts} and 1"
                )
                raise ValueError(message)
            scaling = self.alpha / self.rank
            adapter[layer] = ConvUpdate(down, up, scaling, gate_weight[0], gate_bias[0], kernels, biases)
        return adapter
