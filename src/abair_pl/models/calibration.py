"""What the estimator's logits are worth: honest probabilities, and when no adapter fits."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.models.weights import blend_weights

ACCEPTED_SHARE = 0.99
"""Share of the validation images that are not called unknown."""

_LARGEST_BIAS = 100.0
_SHARPEST, _FLATTEST = 0.05, 20.0
_BISECTIONS = 60


@dataclass(frozen=True)
class Calibration:
    """How the estimator's logits are read; a bundle's ``config.json`` holds these values.

    Attributes:
        temperature: Logits are divided by it (Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 9).
        threshold: Images with a smaller :func:`energy_score` are unlike any adapter; None where none is.
        sharpness: Power of the probabilities as weights of the blend ``soft``, see :meth:`sharpened`. It is chosen, not
            fitted.
        bias: Added to the logits of probabilities, one for each class, clean first; none where it is empty. A larger
            one of clean has more photographs called clean that are, and more that have a little damage. It is chosen,
            and neither fitted nor seen by what is fitted.

    Raises:
        InputError: The temperature is not a positive number, the threshold not a finite one, the sharpness below 1, or
            a bias not in [-100, 100].
    """

    temperature: float = 1.0
    threshold: float | None = None
    sharpness: float = 1.0
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            message = f"the temperature is {self.temperature}; expected a positive number: run phase III again"
            raise InputError(message)
        if self.threshold is not None and not math.isfinite(self.threshold):
            message = f"the threshold is {self.threshold}; expected a finite number or null: run phase III again"
            raise InputError(message)
        if not (math.isfinite(self.sharpness) and self.sharpness >= 1):
            message = f"the sharpness is {self.sharpness}; expected 1, as in the paper, or more"
            raise InputError(message)
        if not all(abs(value) <= _LARGEST_BIAS for value in self.bias):
            message = f"the bias is {list(self.bias)}; expected numbers from -100 to 100, or none as in the paper"
            raise InputError(message)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities.

        Args:
            logits: ``(B, K + 1)``, clean first.

        Returns:
            ``(B, K + 1)`` float32, rows sum to 1.
        """
        return (self.biased(logits.float()) / self.temperature).softmax(dim=1)

    def biased(self, logits: Tensor) -> Tensor:
        """Logits ``(B, K + 1)`` with what is added to them."""
        return logits + logits.new_tensor(self.bias) if self.bias else logits

    def sharpened(self, probabilities: Tensor) -> Tensor:
        """Probabilities as ``soft`` blends by them: to a power, so that adapters of little probability get less.

        The paper blends by the probabilities as they are, power 1. But an adapter for tone changes the colours of the
        whole image even with a weight of a few hundredths; see docs/recipe.md for what power 2 gains. What is equally
        likely stays so, and mixtures are still mixed.

        Args:
            probabilities: ``(B, K + 1)``, rows sum to 1.

        Returns:
            ``(B, K + 1)``, rows sum to 1.
        """
        powers = (probabilities / probabilities.amax(dim=1, keepdim=True)) ** self.sharpness  # the largest stays 1
        return powers / powers.sum(dim=1, keepdim=True)

    def weights(self, probabilities: Tensor, blend: str) -> Tensor:
        """Adapter weights for each image, see :func:`~abair_pl.models.weights.blend_weights`; ``soft`` ones sharpened.

        By either blend an image that is called clean stays as it is: a few hundredths of an adapter for tone would
        change all of it. The paper's SW makes no such exception.

        Args:
            probabilities: ``(B, K + 1)``, clean first; rows sum to 1.
            blend: ``soft`` or ``one_hot``.

        Returns:
            ``(B, K)``.
        """
        if blend != "soft":
            return blend_weights(probabilities, blend)
        damaged = probabilities.argmax(dim=1, keepdim=True) != 0
        return blend_weights(self.sharpened(probabilities), blend) * damaged

    def unknown(self, logits: Tensor) -> Tensor:
        """Whether an image is unlike what the estimator was trained on.

        Args:
            logits: ``(B, K + 1)``.

        Returns:
            ``(B,)`` bool.
        """
        if self.threshold is None:
            return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        return energy_score(logits, self.temperature) < self.threshold


def energy_score(logits: Tensor, temperature: float) -> Tensor:
    """How much an image is like those of the training: the negative free energy ``T logsumexp(logits / T)``.

    After Liu et al., Energy-based Out-of-distribution Detection, NeurIPS 2020, section 2. Measured on photographs
    (docs/estimator.md), it ranks about as well as the largest probability; distances of features (Lee et al., NeurIPS
    2018) rank worse.

    Args:
        logits: ``(B, K + 1)``.
        temperature: T.

    Returns:
        ``(B,)`` float64; images like those of the training have a large one.
    """
    return temperature * (logits.double() / temperature).logsumexp(dim=1)


def fit_calibration(
    logits: Tensor,
    labels: Tensor,
    chosen: Calibration = Calibration(),
) -> Calibration:
    """The calibration of an estimator by images that it was not trained on.

    Args:
        logits: ``(N, K + 1)``; rows that are not finite are left out.
        labels: ``(N,)`` int64, the true classes.
        chosen: What is not fitted, and kept.

    Returns:
        The temperature, and the threshold that accepts 99 % of the images; temperature 1 and no threshold if there are
        none.
    """
    finite = logits.isfinite().all(dim=1)
    logits, labels = logits[finite].detach().double().cpu(), labels[finite].cpu()
    if not len(logits):
        return replace(chosen, temperature=1.0, threshold=None)
    temperature = fit_temperature(logits, labels)
    scores = energy_score(logits, temperature)
    return replace(chosen, temperature=temperature, threshold=torch.quantile(scores, 1.0 - ACCEPTED_SHARE).item())


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of the smallest negative log-likelihood (Guo et al., section 4.2).

    The likelihood is convex in the inverse temperature b, with the derivative ``mean(sum(softmax(b z) z) - z_label)``:
    bisection finds where that is 0.

    Args:
        logits: ``(N, K + 1)`` float64, finite.
        labels: ``(N,)`` int64.

    Returns:
        Within 0.05 (where all are right) and 20 (where they are no better than chance).
    """
    target = logits.gather(1, labels[:, None])[:, 0]
    low, high = 1.0 / _FLATTEST, 1.0 / _SHARPEST
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        slope = (((middle * logits).softmax(dim=1) * logits).sum(dim=1) - target).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 2.0 / (low + high)
