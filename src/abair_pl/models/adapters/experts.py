"""Convolutions between the two halves of a low-rank update: the mixture of experts of Conv-LoRA.

Zhong et al., Convolution Meets LoRA, ICLR 2024 (arXiv 2401.17868), section 3.2.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.whole_image import PoolingLayer, pixel_mean

_NOISE = 0.69
"""Deviation of the noise on the gate in training, that of the published one before it has learned any."""


class ConvExperts(PoolingLayer):
    """``E(u)``: of M experts, one for each scale 1 to M, each adapter's gate picks one for each image.

    Expert i enlarges ``u`` by the factor i, convolves it by 3 x 3, applies GELU and brings it back to its size, so that
    a larger i sees a smaller neighbourhood of finer pixels. The gate is linear on the mean of ``u`` over the pixels. As
    in the published code it picks a single expert, under noise in training so that all are tried. That code learns the
    gate by a balancing loss alone; here the expert is multiplied by its probability (Switch Transformer, Fedus et al.,
    JMLR 2022, eq. 2), so that the restoration loss teaches the gate. Enlarging is bilinear where theirs is bicubic.

    Several adapters run together: kernels are block-diagonal, and so are the gates.

    Args:
        ranks: Channels of ``u`` that belong to each adapter, in their order; R in sum.
        scales: Number of experts M.

    Attributes:
        dense: Run all experts on all images, for the same result in more time: an exported graph cannot choose images.
    """

    def __init__(self, ranks: Sequence[int], scales: int) -> None:
        super().__init__()
        channels = sum(ranks)
        self.gate_weight = nn.Parameter(torch.zeros(len(ranks), scales, channels))
        self.gate_bias = nn.Parameter(torch.zeros(len(ranks), scales))
        self.kernels = nn.Parameter(torch.zeros(scales, channels, channels, 3, 3))
        self.biases = nn.Parameter(torch.zeros(scales, channels))
        owner = [index for index, rank in enumerate(ranks) for _ in range(rank)]
        self.register_buffer("owner", torch.tensor(owner), persistent=False)
        self.owner: Tensor
        self.dense = False

    def forward(self, u: Tensor) -> Tensor:
        """``(B, R, H, W)`` to the same."""
        gates = self._gates(u).to(u.dtype).expand(u.shape[0], -1, -1)
        total = torch.zeros_like(u)
        for index in range(len(self.kernels)):
            if self.dense:
                total = total + self._expert(u, index) * gates[:, :, index, None, None]
                continue
            # An expert that nobody picked runs on no images, and so has a gradient on every rank of a parallel run.
            chosen = gates[:, :, index].ne(0.0).any(dim=1).nonzero()[:, 0]
            result = self._expert(u[chosen], index) * gates[chosen, :, index, None, None]
            total = total.index_add(0, chosen, result.to(total.dtype))
        return total

    def _gates(self, u: Tensor) -> Tensor:
        """``(B, R, M)``, the probability of the picked expert, 0 for the others."""
        (mean,) = self.pool(lambda counts: (pixel_mean(u.float(), counts),), u)
        logits = torch.einsum("br,amr->bam", mean, self.gate_weight.float()) + self.gate_bias.float()
        if self.training and self.gate_weight.requires_grad:  # and not in the frozen adapters of phase III
            logits = logits + torch.randn_like(logits) * _NOISE
        probabilities = logits.softmax(dim=2)
        picked = F.one_hot(probabilities.argmax(dim=2), probabilities.shape[2])
        return (probabilities * picked)[:, self.owner]

    def _expert(self, u: Tensor, index: int) -> Tensor:
        size = (u.shape[2], u.shape[3])
        fine = F.interpolate(u, (size[0] * (index + 1), size[1] * (index + 1)), mode="bilinear") if index else u
        fine = F.gelu(F.conv2d(fine, self.kernels[index], self.biases[index], padding=1))
        return F.interpolate(fine, size, mode="bilinear") if index else fine
