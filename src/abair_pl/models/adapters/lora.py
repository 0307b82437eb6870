"""LoRA: the method of the paper, and the default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from abair_pl.models.adapters.base import KEY_PREFIX, adaptable_layers, layer_names
from abair_pl.models.adapters.peft_method import PeftMethod
from abair_pl.models.adapters.updates import Adapter, LowRankUpdate
from abair_pl.models.backbone import Backbone

_PLAIN = {"use_dora": False, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}, "bias": "none"}


@dataclass(frozen=True)
class LoRA(PeftMethod):
    """Low-rank adaptation (Hu et al., ICLR 2022, eq. 3): ``y = W x + alpha / rank * B A x``; A and B are trained.

    Attributes:
        rank: Rank of the update of each layer.
        alpha: The update is scaled by ``alpha / rank``.
    """

    name: ClassVar[str] = "lora"
    peft_type: ClassVar[str] = "LORA"
    trained: ClassVar[tuple[str, ...]] = (".lora_",)

    alpha: float = 4.0

    def __post_init__(self) -> None:
        self.check_positive("rank", "alpha")

    def peft_config(self, backbone: Backbone) -> Any:
        from peft import LoraConfig

        return LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=adaptable_layers(backbone))

    @classmethod
    def from_file(cls, config: Mapping[str, Any]) -> Self:
        for option, plain in _PLAIN.items():
            if config.get(option, plain) != plain:
                message = f"{option} is {config[option]}, which is not read here; expected {plain}"
                raise ValueError(message)
        return cls(config["r"], config["lora_alpha"])

    def read(self, tensors: Mapping[str, Tensor], backbone: nn.Module) -> Adapter:
        return {
            layer: LowRankUpdate(
                down=tensors[f"{KEY_PREFIX}{layer}.lora_A.weight"].flatten(1),
                up=tensors[f"{KEY_PREFIX}{layer}.lora_B.weight"].flatten(1),
                scaling=self.alpha / self.rank,
            )
            for layer in layer_names(tensors, ".lora_")
        }
