"""The weights of adapters in a mixture: from the estimator, from the segmentation head, or given by name."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from abair_pl.errors import InputError, unknown_name

ImageBlend = Literal["one_hot", "soft", "sum", "average"]
IMAGE_BLENDS: tuple[str, ...] = get_args(ImageBlend)
"""Blends with one weight for each adapter and image."""

BLEND_MODES: tuple[str, ...] = (*IMAGE_BLENDS, "pixel")

RESERVED_NAMES = (*BLEND_MODES, "none", "oracle", "clean", "unknown")
"""What no adapter may be called, because it means something else as a blend or as a label."""

_LEAST_PRIOR = 1e-30
"""What is all but excluded, so that a pixel is never left without anything."""

_LARGEST_WEIGHT = 100.0
"""Far beyond what restores anything; a larger one is a typing error."""


def blend_weights(probabilities: Tensor, mode: str) -> Tensor:
    """Adapter weights for each image (paper, phase III and Table 8).

    Args:
        probabilities: ``(B, K + 1)`` of the estimator, sharpened for ``soft``, clean first; rows sum to 1. Only their
            shape counts for ``sum`` and ``average``.
        mode: ``one_hot`` (OH) gives weight 1 to the likeliest degradation, none if that is clean; ``soft`` (SW) weighs
            each adapter by its probability; ``sum`` gives weight 1 to all, ``average`` 1 / K.

    Returns:
        ``(B, K)``.

    Raises:
        InputError: The mode is not known.
    """
    degradations = probabilities[:, 1:]
    if mode == "soft":
        return degradations
    if mode == "one_hot":
        winner = probabilities.argmax(dim=1)
        return F.one_hot(winner, probabilities.shape[1])[:, 1:].to(probabilities.dtype)
    if mode == "sum":
        return torch.ones_like(degradations)
    if mode == "average":
        return torch.ones_like(degradations) / degradations.shape[1]
    raise unknown_name(mode, "blend", IMAGE_BLENDS)


def pixel_weights(
    logits: Tensor, labels: Sequence[str], adapters: Sequence[str], probabilities: Tensor | None = None
) -> Tensor:
    """Adapter weights for each pixel, from the segmentation head's softmax: a step beyond the paper.

    A pixel has only its surroundings to tell by, and the estimator has the image. So where there is one, clean and each
    degradation count at a pixel as far as the estimator finds them in the image: the head's shares are multiplied by
    its probabilities and scaled to the sum that they had. A label without an adapter keeps its share, which nobody
    restores. Adapters that came after the segmentation head, which has no label for them, get the image's probability
    everywhere, and the others share the rest.

    Args:
        logits: ``(B, len(labels) + 1, H, W)``, clean first.
        labels: The degradations that the segmentation head knows.
        adapters: The adapters, in the order of the weights.
        probabilities: ``(B, K + 1)`` of the estimator, not sharpened, clean first; needed if an adapter is not among
            the labels.

    Returns:
        ``(B, K, H, W)``, at most 1 in sum.

    Raises:
        InputError: There are such adapters, but no probabilities.
    """
    new = [name for name in adapters if name not in labels]
    if new and probabilities is None:
        message = f"the segmentation head does not know {', '.join(new)}; expected the estimator's probabilities too"
        raise InputError(message)
    columns = () if probabilities is None else probabilities.float().unbind(dim=1)
    in_image = dict(zip(("clean", *adapters), columns, strict=True)) if columns else {}
    shares = _pixel_shares(logits.float(), ("clean", *labels), in_image)
    rest = 1.0 - sum((in_image[name] for name in new), start=shares.new_zeros(len(shares)))
    maps = [
        in_image[name][:, None, None].expand(len(shares), *shares.shape[2:])
        if name in new
        else shares[:, 1 + labels.index(name)] * rest[:, None, None]
        for name in adapters
    ]
    return torch.stack(maps, dim=1) if maps else shares[:, :0]


def _pixel_shares(logits: Tensor, labels: Sequence[str], in_image: Mapping[str, Tensor]) -> Tensor:
    """Shares of labels at each pixel, ``(B, len(labels), H, W)``; those of the image, ``(B,)`` each, are a prior."""
    shares = logits.softmax(dim=1)
    known = [index for index, name in enumerate(labels) if name in in_image]
    if not known:
        return shares
    prior = torch.stack([in_image[labels[index]] for index in known], dim=1)
    products = (logits[:, known] + prior.clamp_min(_LEAST_PRIOR).log()[..., None, None]).softmax(dim=1)
    scaled = products * shares[:, known].sum(dim=1, keepdim=True)
    return shares.index_copy(1, torch.tensor(known, device=shares.device), scaled)


def keep_clean(degraded: Tensor, restored: Tensor, weights: Tensor) -> Tensor:
    """Restore as far as something is damaged: what the weights lack to 1 is probably clean, and stays as it is.

    The backbone changes clean pixels, too, a little; an image that is clean comes back as it was. Without adapters
    there is nothing to tell by, and all is restored.

    Args:
        degraded: ``(B, 3, H, W)``.
        restored: The same shape, restored by these weights.
        weights: ``(B, K)`` or ``(B, K, H, W)``, probabilities of the degradations.
    """
    if weights.shape[1] == 0:
        return restored
    damaged = weights.sum(dim=1, keepdim=True).clamp(0.0, 1.0)
    return torch.lerp(degraded, restored, damaged if weights.ndim == 4 else damaged[..., None, None])


def parse_weights(text: str) -> dict[str, float]:
    """Weights from ``rain=0.7,noise=0.3``.

    Raises:
        InputError: The text has another form, names an adapter twice, or a number is not from -100 to 100.

    Examples:
        >>> parse_weights("rain=0.7,noise=0.3")
        {'rain': 0.7, 'noise': 0.3}
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        named = [(name.strip(), float(value)) for name, value in pairs]
    except ValueError:
        message = f"weights are '{text}'; expected NAME=NUMBER,NAME=NUMBER such as rain=0.7,noise=0.3"
        raise InputError(message) from None
    weights = dict(named)
    if len(weights) < len(named):
        message = f"weights are '{text}'; expected each name once"
        raise InputError(message)
    for name, weight in named:
        if not abs(weight) <= _LARGEST_WEIGHT:  # nan, too
            message = f"the weight of {name} is {weight}; expected a number such as 0.7, from -100 to 100"
            raise InputError(message)
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
