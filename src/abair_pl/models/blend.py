"""One backbone, many adapters, any mixture of them: the fused form of the blend."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from abair_pl.errors import BundleError, InputError, unknown_name
from abair_pl.models.adapters import Adapter, LowRankUpdate, stack_updates
from abair_pl.models.backbone import Backbone, Encoding

_Result = TypeVar("_Result")
BlendMode = Literal["one_hot", "soft"]
BLEND_MODES: tuple[str, ...] = get_args(BlendMode)


RESERVED_NAMES = (*BLEND_MODES, "pixel", "none", "oracle", "clean")
"""What no adapter may be called, because it means something else as a blend or as a label."""


class Mixture:
    """The weights that all mixed layers of one backbone read during one forward pass."""

    def __init__(self) -> None:
        self.weights: Tensor | None = None


class MixedLayer(nn.Module):
    """A 1x1 convolution or linear layer whose weight is merged for each image of the batch.

    ``W_b = W + up diag(weights_b) down``, then one batched matrix product over the pixels. The merge is small beside
    the pixels, carries gradients to the weights, and one forward serves a batch of different mixtures.

    Args:
        layer: The backbone's layer.
        updates: Its update by each adapter, in the order of the weights; None where there is none.
        mixture: Where the weights are read from.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, updates: list[LowRankUpdate | None], mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.weight = nn.Parameter(layer.weight.detach().flatten(1), requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)
        outputs, inputs = self.weight.shape
        down, up, owner = stack_updates(updates, inputs, outputs)
        self.register_buffer("down", down)
        self.register_buffer("up", up)
        self.register_buffer("owner", owner)
        self.down: Tensor
        self.up: Tensor
        self.owner: Tensor

    def merged(self, weights: Tensor) -> Tensor:
        """The layer's weight under mixtures ``(B, K)``, as ``(B, out, in)``."""
        gates = weights[:, self.owner].to(self.up.dtype)
        return self.weight + (self.up * gates[:, None, :]) @ self.down

    def forward(self, x: Tensor) -> Tensor:
        weights = self.mixture.weights
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2) if x.ndim == 4 else x[:, None, :]
        if weights is None:
            y = nn.functional.linear(pixels, self.weight, self.bias)
        else:
            y = pixels @ self.merged(weights).to(pixels.dtype).transpose(1, 2)
            y = y if self.bias is None else y + self.bias
        if x.ndim == 2:
            return y[:, 0]
        return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class BlendedBackbone(nn.Module):
    """A frozen backbone with all adapters of a bundle, mixed by weights that are an input.

    Args:
        backbone: The backbone; its adaptable layers are replaced, so it must not be used elsewhere.
        adapters: The adapters by name; their order is the order of the weights.

    Raises:
        BundleError: An adapter updates what is no layer of the backbone, or one of another size.
    """

    def __init__(self, backbone: Backbone, adapters: Mapping[str, Adapter]) -> None:
        super().__init__()
        self.names = list(adapters)
        self.mixture = Mixture()
        self.backbone = backbone.requires_grad_(False)
        layers = dict(backbone.named_modules())
        for name in dict.fromkeys(layer for adapter in adapters.values() for layer in adapter):
            layer = layers.get(name)
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                found = "which is not there" if layer is None else f"a {type(layer).__name__}"
                message = f"adapters update {name}, {found}; expected a convolution or linear layer: train them again"
                raise BundleError(message)
            parent, _, child = name.rpartition(".")
            updates = [adapter.get(name) for adapter in adapters.values()]
            setattr(backbone.get_submodule(parent), child, MixedLayer(layer, updates, self.mixture))

    def encode(self, image: Tensor, weights: Tensor | None) -> Encoding:
        """The encoder's features under a mixture."""
        return self._mixed(weights, image, self.backbone.encode)

    def segment(self, image: Tensor) -> Tensor:
        """Logits ``(B, labels, H, W)`` of the plain backbone's segmentation head."""
        return self.backbone.segment(self.encode(image, None))

    def forward(self, degraded: Tensor, weights: Tensor | None) -> Tensor:
        """Restore images.

        Args:
            degraded: ``(B, 3, H, W)`` RGB in [0, 1].
            weights: ``(B, K)``, one for each adapter; None for the plain backbone.

        Returns:
            ``(B, 3, H, W)``, not clamped.
        """
        if weights is not None and weights.shape != (len(degraded), len(self.names)):
            message = f"weights have shape {tuple(weights.shape)}; expected ({len(degraded)}, {len(self.names)})"
            raise InputError(message)
        return self._mixed(weights, degraded, self.backbone)

    def _mixed(self, weights: Tensor | None, image: Tensor, run: Callable[[Tensor], _Result]) -> _Result:
        self.mixture.weights = weights
        try:
            return run(image)
        finally:
            self.mixture.weights = None


def blend_weights(probabilities: Tensor, mode: str) -> Tensor:
    """Adapter weights from the estimator's probabilities (paper, phase III).

    Args:
        probabilities: ``(B, K + 1)``, clean first; rows sum to 1.
        mode: ``one_hot`` (OH) gives weight 1 to the likeliest degradation, none if that is clean; ``soft`` (SW) weighs
            each adapter by its probability.

    Returns:
        ``(B, K)``.

    Raises:
        InputError: The mode is not known.
    """
    if mode == "soft":
        return probabilities[:, 1:]
    if mode == "one_hot":
        winner = probabilities.argmax(dim=1)
        return nn.functional.one_hot(winner, probabilities.shape[1])[:, 1:].to(probabilities.dtype)
    raise unknown_name(mode, "blend", BLEND_MODES)


def parse_weights(text: str) -> dict[str, float]:
    """Weights from ``rain=0.7,noise=0.3``.

    Raises:
        InputError: The text has another form, or a number is not finite.

    Examples:
        >>> parse_weights("rain=0.7,noise=0.3")
        {'rain': 0.7, 'noise': 0.3}
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        weights = {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        message = f"weights are '{text}'; expected NAME=NUMBER,NAME=NUMBER such as rain=0.7,noise=0.3"
        raise InputError(message) from None
    _check_finite(weights)
    return weights


def fixed_weights(weights: Mapping[str, float], names: list[str], batch: int) -> Tensor:
    """``(batch, K)`` weights given by name; adapters that are not named get 0.

    Raises:
        InputError: There is no adapter of a name, or a weight is not finite.
    """
    _check_finite(weights)
    row = torch.zeros(len(names))
    for name, weight in weights.items():
        if name not in names:
            raise unknown_name(name, "adapter", names)
        row[names.index(name)] = weight
    return row.repeat(batch, 1)


def _check_finite(weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if not math.isfinite(weight):
            message = f"the weight of {name} is {weight}; expected a finite number such as 0.7"
            raise InputError(message)
