"""One backbone, many adapters, any mixture of them: the fused form of the blend."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.errors import InputError
from abair_pl.models.adapters import Adapter, LowRankUpdate, adaptable_layer, stack_updates
from abair_pl.models.backbone import Backbone, Encoding, reflect_to_multiple
from abair_pl.models.whole_image import WholeImage

_Result = TypeVar("_Result")


class Mixture:
    """The weights that all mixed layers of one backbone read during one forward pass.

    Attributes:
        weights: ``(B, K)``, or ``(B, K, H, W)`` for images padded to H x W; None for the plain backbone.
    """

    def __init__(self, weights: Tensor | None = None) -> None:
        self.weights = weights
        self._gates: dict[tuple[object, ...], Tensor] = {}

    def set(self, weights: Tensor | None) -> None:
        """Change the weights."""
        self.weights = weights
        self._gates = {}

    def gates(self, weights: Tensor, ranks: tuple[int, ...], size: tuple[int, int]) -> Tensor:
        """The weight of each rank of the stacked adapters, made once for all layers that are alike.

        Args:
            weights: Those of this mixture.
            ranks: How many each adapter has.
            size: ``(h, w)`` of the layer.

        Returns:
            ``(B, R)``, or ``(B, R, h, w)``: means over the pixels of the image that a pixel of the layer stands for.
        """
        per_pixel = weights.ndim == 4
        key = (ranks, size) if per_pixel else (ranks,)
        if key not in self._gates:
            resized = F.adaptive_avg_pool2d(weights, size) if per_pixel else weights
            owner = [index for index, rank in enumerate(ranks) for _ in range(rank)]
            gates = resized.index_select(1, torch.tensor(owner, dtype=torch.int64, device=weights.device))
            self._gates[key] = gates.contiguous(memory_format=torch.channels_last) if per_pixel else gates
        return self._gates[key]


class MixedLayer(nn.Module):
    """A 1x1 convolution with the updates of several adapters, whose mixture is an input.

    Weights per image are merged first, ``W_b = W + up diag(weights_b) down``: small beside the pixels, and a single
    product over them. Weights per pixel cannot be, so the stacked sum ``W x + up (weights * down x)`` it is; so too for
    adapters that convolve between ``down`` and ``up``. Both carry gradients to the weights.

    Args:
        layer: The backbone's layer.
        updates: Its update by each adapter, in the order of the weights; None where there is none.
        mixture: Where the weights are read from.
    """

    def __init__(self, layer: nn.Conv2d, updates: list[LowRankUpdate | None], mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.weight = nn.Parameter(layer.weight.detach().flatten(1), requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)
        outputs, inputs = self.weight.shape
        stack = stack_updates(updates, inputs, outputs)
        self.ranks = tuple(0 if update is None else len(update.down) for update in updates)
        self.experts = stack.experts
        self.register_buffer("down", stack.down)
        self.register_buffer("up", stack.up)
        self.down: Tensor
        self.up: Tensor

    def forward(self, x: Tensor) -> Tensor:
        weights = self.mixture.weights
        if weights is None:
            return _convolved(x, self.weight, self.bias)
        if weights.ndim == 2 and self.experts is None:
            return self._merged(x, weights)
        return self._stacked(x, weights)

    def _merged(self, x: Tensor, weights: Tensor) -> Tensor:
        gates = self.mixture.gates(weights, self.ranks, (0, 0)).to(self.up.dtype)
        count = gates.shape[0]
        merged = torch.baddbmm(
            self.weight.expand(count, -1, -1), self.up * gates[:, None, :], self.down.expand(count, -1, -1)
        )
        if count == 1:  # whatever the number of images
            return _convolved(x, merged[0], self.bias)
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        y = pixels @ merged.to(pixels.dtype).transpose(1, 2)
        y = y if self.bias is None else y + self.bias
        return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)

    def _stacked(self, x: Tensor, weights: Tensor) -> Tensor:
        gates = self.mixture.gates(weights, self.ranks, (x.shape[2], x.shape[3]))
        low = _convolved(x, self.down, None)
        low = low if self.experts is None else self.experts(low)
        low = low * (gates if gates.ndim == 4 else gates[:, :, None, None]).to(low.dtype)
        plain = _convolved(x, self.weight, self.bias)
        # A product of few ranks, added while the result is in the cache; twice as fast as a convolution and a sum.
        total = torch.addmm(_pixels(plain), _pixels(low), self.up.to(low.dtype).T)
        return total.unflatten(0, (x.shape[0], *x.shape[2:])).permute(0, 3, 1, 2)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution of ``(B, in, H, W)`` with a weight ``(out, in)``."""
    return F.conv2d(x, weight[:, :, None, None], bias)


def _pixels(x: Tensor) -> Tensor:
    """The pixels of ``(B, C, H, W)`` as rows ``(B * H * W, C)``; a view of channels-last memory."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


class BlendedBackbone(nn.Module):
    """A frozen backbone with all adapters of a bundle, mixed by weights that are an input.

    Args:
        backbone: The backbone; its adaptable layers are replaced, so it must not be used elsewhere.
        adapters: The adapters by name; their order is the order of the weights.

    Raises:
        BundleError: An adapter updates what is no 1x1 convolution of the backbone, or one of another size.
    """

    def __init__(self, backbone: Backbone, adapters: Mapping[str, Adapter]) -> None:
        super().__init__()
        self.names = list(adapters)
        self.mixture = Mixture()
        self.whole: WholeImage | None = None
        self.backbone = backbone.requires_grad_(False)
        self.backbone.checkpointing = False  # what is computed again would find other weights, or none
        for name in dict.fromkeys(layer for adapter in adapters.values() for layer in adapter):
            layer = adaptable_layer(backbone, name)
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
            weights: ``(B, K)``, one for each adapter, or ``(B, K, h, w)`` stretched over the images; ``(1, K)`` for one
                mixture for all; None for the plain backbone.

        Returns:
            ``(B, 3, H, W)``, not clamped.

        Raises:
            InputError: The weights have another shape.
        """
        if weights is None or len(weights) == 1 or weights.ndim == 4 or degraded.device.type != "cpu":
            return self.at_once(degraded, weights)
        # On a CPU, convolutions of one image after the other are twice as fast as batched products.
        self._check(weights, len(degraded))
        singles = zip(degraded.split(1), weights.split(1), strict=True)
        return torch.cat([self.at_once(image, row) for image, row in singles])

    def at_once(self, degraded: Tensor, weights: Tensor | None) -> Tensor:
        """As calling it, but never one image after the other."""
        return self._mixed(weights, degraded, self.backbone)

    def share(self, whole: WholeImage | None) -> None:
        """As :meth:`Backbone.share`; the plain backbone and the mixture pool each for itself."""
        self.whole = whole
        self.backbone.share(whole)

    def _mixed(self, weights: Tensor | None, image: Tensor, run: Callable[[Tensor], _Result]) -> _Result:
        if weights is not None:
            self._check(weights, image.shape[0])
        if weights is not None and weights.ndim == 4:
            if weights.shape[2:] != image.shape[2:]:
                weights = F.interpolate(weights, image.shape[2:], mode="bilinear")
            weights = reflect_to_multiple(weights, self.backbone.architecture.multiple_px)
        if self.whole is not None:
            self.whole.run = "plain" if weights is None else "mixture"
        self.mixture.set(weights)
        try:
            return run(image)
        finally:
            self.mixture.set(None)

    def _check(self, weights: Tensor, images: int) -> None:
        if weights.ndim not in (2, 4) or weights.shape[1] != len(self.names) or weights.shape[0] not in (1, images):
            expected = f"({images}, {len(self.names)}), or that and a height and width"
            message = f"weights have shape {tuple(weights.shape)}; expected {expected}"
            raise InputError(message)
