"""VeRA: shared random projections, and two trained vectors for each layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from abair_pl.models.adapters.base import KEY_PREFIX, adaptable_layer, adaptable_layers, layer_names
from abair_pl.models.adapters.peft_method import PeftMethod
from abair_pl.models.adapters.updates import Adapter, LowRankUpdate
from abair_pl.models.backbone import Backbone

_INNER = ".linear"


class PixelLinear(nn.Module):
    """A 1x1 convolution as a linear layer over the channels of each pixel.

    Args:
        conv: The convolution, whose weight is shared.

    Attributes:
        linear: ``nn.Linear`` with that weight.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        outputs, inputs = conv.weight.shape[:2]
        self.linear = nn.Linear(inputs, outputs, bias=conv.bias is not None, device="meta")
        self.linear.weight = nn.Parameter(conv.weight.detach().flatten(1), conv.weight.requires_grad)
        if conv.bias is not None:
            self.linear.bias = nn.Parameter(conv.bias.detach(), conv.bias.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, H, W)``."""
        y: Tensor = self.linear(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


def as_linear(backbone: Backbone) -> Backbone:
    """Express a backbone's adaptable layers, in place, as the linear layers that PEFT's VeRA asks for.

    ``PeftModel.from_pretrained(as_linear(backbone), folder)`` opens a VeRA adapter.
    """
    for layer in adaptable_layers(backbone):
        backbone.set_submodule(layer, PixelLinear(adaptable_layer(backbone, layer)))
    return backbone


@dataclass(frozen=True)
class VeRA(PeftMethod):
    """Vector-based random matrix adaptation (Kopiczko et al., ICLR 2024, eq. 2): ``y = W x + diag(b) B diag(d) A x``.

    A and B are random, frozen and shared by all layers (each takes the rows and columns that it needs); only the
    vectors b and d are trained, a fraction of LoRA's parameters at several times its rank.

    Attributes:
        rank: Rank of the update of each layer.
        seed: Seed of A and B.
    """

    name: ClassVar[str] = "vera"
    peft_type: ClassVar[str] = "VERA"
    trained: ClassVar[tuple[str, ...]] = (".vera_lambda_",)

    seed: int = 0

    def prepare(self, backbone: Backbone) -> Backbone:
        return as_linear(backbone)

    def peft_config(self, backbone: Backbone) -> Any:
        from peft import VeraConfig

        layers = [name for name, layer in backbone.named_modules() if isinstance(layer, PixelLinear)]
        targets = [layer + _INNER for layer in layers]
        return VeraConfig(r=self.rank, target_modules=targets, projection_prng_key=self.seed, save_projection=True)

    @classmethod
    def from_file(cls, config: Mapping[str, Any]) -> Self:
        return cls(config["r"], config["projection_prng_key"])

    def read(self, tensors: Mapping[str, Tensor], backbone: nn.Module) -> Adapter:
        adapter: Adapter = {}
        for inner in layer_names(tensors, ".vera_lambda_"):
            layer = inner.removesuffix(_INNER)
            inputs = adaptable_layer(backbone, layer).in_channels
            b, d = (tensors[f"{KEY_PREFIX}{inner}.vera_lambda_{side}"] for side in "bd")
            down, up = tensors["base_model.vera_A"][:, :inputs], tensors["base_model.vera_B"][: len(b)]
            adapter[layer] = LowRankUpdate(d[:, None] * down, b[:, None] * up, 1.0)
        return adapter
