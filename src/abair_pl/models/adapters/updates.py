"""The update of a layer by an adapter, whatever the method, and the updates by several adapters as one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from abair_pl.errors import BundleError
from abair_pl.models.adapters.experts import ConvExperts


@dataclass(frozen=True)
class LowRankUpdate:
    """The update of one layer: ``delta W = scaling * up @ down``.

    Attributes:
        down: ``(r, in)``, PEFT's A.
        up: ``(out, r)``, PEFT's B.
        scaling: ``alpha / r``.

    Raises:
        ValueError: The shapes do not fit each other.
    """

    down: Tensor
    up: Tensor
    scaling: float

    def __post_init__(self) -> None:
        shapes = [tuple(tensor.shape) for tensor in (self.down, self.up)]
        if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][1]:
            message = f"an update of shapes {shapes[0]} and {shapes[1]}; expected (rank, inputs) and (outputs, rank)"
            raise ValueError(message)


@dataclass(frozen=True)
class ConvUpdate(LowRankUpdate):
    """The update of one layer by Conv-LoRA: ``scaling * up (u + E(u))`` with ``u = down x``.

    Attributes:
        gate_weight: ``(M, r)`` for M experts, see :class:`abair_pl.models.adapters.experts.ConvExperts`.
        gate_bias: ``(M,)``.
        kernels: ``(M, r, r, 3, 3)``.
        biases: ``(M, r)``.

    Raises:
        ValueError: The shapes do not fit each other.
    """

    gate_weight: Tensor
    gate_bias: Tensor
    kernels: Tensor
    biases: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        rank, scales = len(self.down), len(self.kernels)
        expected = [(scales, rank), (scales,), (scales, rank, rank, 3, 3), (scales, rank)]
        found = [tuple(tensor.shape) for tensor in (self.gate_weight, self.gate_bias, self.kernels, self.biases)]
        if found != expected:
            message = f"experts of shapes {found}; expected {expected}"
            raise ValueError(message)


Adapter = dict[str, LowRankUpdate]
"""The updates of an adapter by the name of the backbone's layer."""


@dataclass(frozen=True)
class Stack:
    """The updates of one layer by several adapters.

    Attributes:
        down: ``(R, in)``.
        up: ``(out, R)`` with the scalings inside.
        owner: ``(R,)``, the adapter of each rank.
        experts: What happens between ``down`` and ``up``, ``(B, R, H, W)`` to the same; None where nothing does.
    """

    down: Tensor
    up: Tensor
    owner: Tensor
    experts: nn.Module | None


def stack_updates(updates: Sequence[LowRankUpdate | None], inputs: int, outputs: int) -> Stack:
    """Stack the updates of one layer by several adapters, whose ranks and methods may differ.

    Args:
        updates: One for each adapter; None where it does not touch the layer.
        inputs: Input channels of the layer.
        outputs: Its output channels.

    Raises:
        BundleError: An update is for a layer of another size.
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
    return Stack(down, up, owner, _stacked_experts([update for _, update in present]))


class _ExpertsOfSomeRanks(nn.Module):
    """``u + E(u)`` on some ranks of a stack, ``u`` on the others."""

    def __init__(self, experts: ConvExperts, ranks: Tensor) -> None:
        super().__init__()
        self.experts = experts
        self.register_buffer("ranks", ranks, persistent=False)
        self.ranks: Tensor

    def forward(self, u: Tensor) -> Tensor:
        return u.index_add(1, self.ranks, self.experts(u.index_select(1, self.ranks)))


def _stacked_experts(updates: list[LowRankUpdate]) -> nn.Module | None:
    ends = torch.tensor([len(update.down) for update in updates]).cumsum(0).tolist()
    convolving = [(update, end) for update, end in zip(updates, ends, strict=True) if isinstance(update, ConvUpdate)]
    if not convolving:
        return None
    scales = max(len(update.kernels) for update, _ in convolving)
    experts = ConvExperts([len(update.down) for update, _ in convolving], scales).requires_grad_(False)
    experts.gate_bias.fill_(-torch.inf)  # nobody picks the scales that an adapter lacks
    start = 0
    for index, (update, _) in enumerate(convolving):
        own, known = slice(start, start + len(update.down)), slice(len(update.kernels))
        experts.gate_weight[index, known, own] = update.gate_weight
        experts.gate_bias[index, known] = update.gate_bias
        experts.kernels[known, own, own] = update.kernels
        experts.biases[known, own] = update.biases
        start = own.stop
    ranks = torch.cat([torch.arange(end - len(update.down), end) for update, end in convolving])
    return _ExpertsOfSomeRanks(experts.eval(), ranks)
