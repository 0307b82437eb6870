"""Clean photographs in, degraded ones with labels and parameters out, all on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from abair_pl.degradations.base import Degradation, Parameters
from abair_pl.degradations.cutmix import MAX_REGIONS, Layout, draw_layout, uniform_layout
from abair_pl.errors import InputError, unknown_name


@dataclass(frozen=True)
class Plan:
    """All that was drawn for a batch; the same plan gives the same pixels on the same device.

    Attributes:
        layout: Which degradation covers which region.
        members: For each label, the indices of its regions in the layout.
        parameters: For each label but clean, the parameters of those regions.
    """

    layout: Layout
    members: dict[int, list[int]]
    parameters: dict[int, Parameters]

    def record(self, sample: int, names: Sequence[str]) -> list[dict[str, Any]]:
        """What one sample got, as plain JSON types, in the order of painting.

        Args:
            sample: Index in the batch.
            names: The degradations in the order of the labels, clean left out.
        """
        records = []
        for label, members in self.members.items():
            for row, region in enumerate(members):
                if self.layout.sample[region] != sample:
                    continue
                values = {name: value[row].item() for name, value in self.parameters.get(label, {}).items()}
                records.append(
                    {
                        "degradation": names[label - 1] if label else "clean",
                        "box": self.layout.box[region].tolist(),
                        "order": int(self.layout.order[region]),
                        "parameters": values,
                    }
                )
        return sorted(records, key=lambda record: int(record["order"]))


@dataclass(frozen=True)
class Synthesis:
    """What the synthesizer gives back.

    Attributes:
        degraded: ``(B, 3, H, W)`` float32 RGB in [0, 1].
        labels: ``(B, H, W)`` int64, the degradation of each pixel; 0 is clean.
        plan: What was drawn.
    """

    degraded: Tensor
    labels: Tensor
    plan: Plan


class Synthesizer(nn.Module):
    """Degrades a batch: one degradation a sample, or several in regions (Degradation CutMix).

    Everything is drawn on the host from one seed a sample and moved to the device once; operators then run on the
    samples that need them, in float32.

    Args:
        operators: The degradations; their order is the order of the labels, starting at 1.
        cutmix_probability: Share of samples with regions.
        cutmix_regions: Fewest and most regions of such a sample, within 2 to 4.
        clean_probability: Share of the other samples that stay clean.

    Raises:
        InputError: There is no operator, two have one name, or a number is out of bounds.
    """

    def __init__(
        self,
        operators: Sequence[Degradation],
        cutmix_probability: float = 0.0,
        cutmix_regions: tuple[int, int] = (2, 4),
        clean_probability: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = [operator.name for operator in operators]
        if not operators or len(set(self.names)) < len(self.names):
            message = f"degradations are {self.names}; expected at least one, each named once"
            raise InputError(message)
        if not 2 <= cutmix_regions[0] <= cutmix_regions[1] <= MAX_REGIONS:
            message = f"cutmix_regions is {cutmix_regions}; expected 2 <= fewest <= most <= {MAX_REGIONS}"
            raise InputError(message)
        for key, share in (("cutmix_probability", cutmix_probability), ("clean_probability", clean_probability)):
            if not 0.0 <= share <= 1.0:
                message = f"{key} is {share}; expected a share within [0, 1]"
                raise InputError(message)
        self.operators = nn.ModuleList(operators)
        self.cutmix_probability = cutmix_probability
        self.cutmix_regions = cutmix_regions
        self.clean_probability = clean_probability

    def plan(self, seeds: Tensor, only: str | None = None) -> Plan:
        """Draw regions and parameters on the CPU.

        Args:
            seeds: ``(B,)`` int64 on the CPU, each in [0, 2**53).
            only: Give all samples this one degradation, over the whole image; ``"clean"`` for none.

        Raises:
            InputError: ``only`` is not among the degradations.
        """
        numbers = seeds.numpy()
        if only is None:
            labels = len(self.names) + 1
            share = self.cutmix_probability
            layout = draw_layout(numbers, labels, share, self.cutmix_regions, self.clean_probability)
        else:
            known = ["clean", *self.names]
            if only not in known:
                raise unknown_name(only, "degradation", known)
            layout = uniform_layout(numbers, known.index(only))
        members = {int(label): np.flatnonzero(layout.label == label).tolist() for label in np.unique(layout.label)}
        parameters = {
            label: self._operator(label).draw(layout.seed[regions]) for label, regions in members.items() if label
        }
        return Plan(layout, members, parameters)

    @torch.no_grad()
    def forward(self, clean: Tensor, plan: Plan) -> Synthesis:
        """Apply a plan.

        Args:
            clean: ``(B, 3, H, W)`` RGB in [0, 1].
            plan: As :meth:`plan` returns it for the same batch.
        """
        layout = plan.layout
        device = clean.device
        here = _moved(plan.parameters, device)
        clean = clean.float()
        layers = clean.new_empty(len(layout.sample), *clean.shape[1:])
        sample = torch.from_numpy(layout.sample).to(device)
        for label, members in plan.members.items():
            regions = torch.tensor(members, device=device)
            source = clean[sample[regions]]
            layers[regions] = self._operator(label)(source, params=dict(here[label])) if label else source
        label_of = torch.from_numpy(layout.label).to(device)
        first = torch.from_numpy(np.flatnonzero(layout.order == 0)).to(device)
        degraded = layers[first]
        labels = label_of[first].view(-1, 1, 1).repeat(1, *clean.shape[2:])
        inside = _inside(torch.from_numpy(layout.box).to(device), (clean.shape[2], clean.shape[3]))
        for order in range(1, int(layout.order.max()) + 1):
            top = torch.from_numpy(np.flatnonzero(layout.order == order)).to(device)
            where, mask = sample[top], inside[top]
            degraded[where] = torch.where(mask[:, None], layers[top], degraded[where])
            labels[where] = torch.where(mask, label_of[top].view(-1, 1, 1), labels[where])
        return Synthesis(degraded, labels, plan)

    def _operator(self, label: int) -> Degradation:
        operator = self.operators[label - 1]
        if not isinstance(operator, Degradation):
            message = f"operator {label} is a {type(operator).__name__}; expected a Degradation"
            raise TypeError(message)
        return operator


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks ``(R, H, W)`` of the pixels whose centres lie in boxes given as fractions."""
    height, width = size
    y = ((torch.arange(height, device=boxes.device) + 0.5) / height).view(1, -1, 1)
    x = ((torch.arange(width, device=boxes.device) + 0.5) / width).view(1, 1, -1)
    left, top, right, bottom = (side.view(-1, 1, 1) for side in boxes.unbind(1))
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def _moved(parameters: dict[int, Parameters], device: torch.device) -> dict[int, Parameters]:
    """Parameters on a device, in one transfer for each dtype instead of one for each tensor."""
    if device.type == "cpu":
        return parameters
    flat = [(label, name, value) for label, values in parameters.items() for name, value in values.items()]
    moved: dict[int, Parameters] = {label: {} for label in parameters}
    for dtype in {value.dtype for _, _, value in flat}:
        same = [entry for entry in flat if entry[2].dtype == dtype]
        packed = torch.cat([value for _, _, value in same]).to(device, non_blocking=True)
        pieces = packed.split([len(value) for _, _, value in same])
        for (label, name, _), piece in zip(same, pieces, strict=True):
            moved[label][name] = piece
    return moved
