"""Clean photographs in, degraded ones with labels and parameters out, all on the device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abair_pl.degradations.base import FULL_DIAL, Degradation, Range, Step
from abair_pl.degradations.combinations import AnyDegradation, Composite
from abair_pl.degradations.cutmix import MAX_REGIONS, Layout, LayoutConfig, coverage, draw_layout, uniform_layout
from abair_pl.degradations.plan import Plan, Record, moved, plan_of_records
from abair_pl.errors import InputError, unknown_name


@dataclass(frozen=True)
class Synthesis:
    """What the synthesizer gives back.

    Attributes:
        degraded: ``(B, 3, H, W)`` float32 RGB in [0, 1].
        labels: ``(B, H, W)`` int64, the degradation of each pixel, of a composite the leading one; 0 is clean.
        shares: ``(B, K + 1)`` float32, the share of the image that is clean, and that each degradation touches; with
            composites a row sums to more than 1.
        plan: What was drawn.
    """

    degraded: Tensor
    labels: Tensor
    shares: Tensor
    plan: Plan


class Synthesizer(nn.Module):
    """Degrades a batch: one degradation or composite a sample, or several in regions (Degradation CutMix).

    Everything is drawn on the host from one seed a sample and moved to the device once; operators then run on the
    samples that need them, in float32. Of a composite, that member leads which changes the image most, by mean absolute
    difference.

    Args:
        degradations: Their order is the order of the labels, starting at 1.
        composites: Composites of these degradations.
        composite_probability: Share of degraded samples, or of their regions, that get a composite.
        cutmix_probability: Share of samples with regions.
        cutmix_regions: Fewest and most regions of such a sample, within 2 to 4.
        smooth_probability: Share of regions that are smooth masks instead of rectangles.
        clean_probability: Share of the other samples that stay clean.

    Raises:
        InputError: There is no degradation, two have one name, a composite has a member that is not among them, or a
            number is out of bounds.
    """

    def __init__(
        self,
        degradations: Sequence[AnyDegradation],
        composites: Sequence[Composite] = (),
        composite_probability: float = 0.0,
        cutmix_probability: float = 0.0,
        cutmix_regions: tuple[int, int] = (2, 4),
        smooth_probability: float = 0.5,
        clean_probability: float = 0.0,
    ) -> None:
        super().__init__()
        self.names = [degradation.name for degradation in degradations]
        self.sources = ["clean", *self.names, *(composite.name for composite in composites)]
        if not degradations or len(set(self.sources)) < len(self.sources):
            message = f"degradations and composites are {self.sources[1:]}; expected at least one, each named once"
            raise InputError(message)
        for composite in composites:
            for operator in composite.operators:
                if operator.name not in self.names:
                    raise unknown_name(operator.name, f"member of composite {composite.name}", self.names)
        if not 2 <= cutmix_regions[0] <= cutmix_regions[1] <= MAX_REGIONS:
            message = f"cutmix_regions is {cutmix_regions}; expected 2 <= fewest <= most <= {MAX_REGIONS}"
            raise InputError(message)
        if composite_probability > 0 and not composites:
            message = f"composite_probability is {composite_probability} without composites; expected some, or 0"
            raise InputError(message)
        self.config = LayoutConfig(
            degradations=len(degradations),
            composites=len(composites),
            cutmix_probability=_share(cutmix_probability, "cutmix_probability"),
            cutmix_regions=cutmix_regions,
            smooth_probability=_share(smooth_probability, "smooth_probability"),
            clean_probability=_share(clean_probability, "clean_probability"),
            composite_probability=_share(composite_probability, "composite_probability"),
        )
        self.members: list[AnyDegradation] = [*degradations, *composites]

    @classmethod
    def only(cls, degradation: AnyDegradation) -> Self:
        """A synthesizer whose last source is this degradation, and the others, if it is a composite, its members."""
        if isinstance(degradation, Composite):
            return cls(degradation.members, [degradation])
        return cls([degradation])

    @property
    def operators(self) -> list[Degradation]:
        """All operators that may be used."""
        return [operator for member in self.members for operator in member.operators]

    def plan(self, seeds: Tensor, only: str | None = None, dial: Range = FULL_DIAL) -> Plan:
        """Draw regions and parameters on the CPU.

        Args:
            seeds: ``(B,)`` int64 on the CPU, each in [0, 2**53).
            only: Give all samples this degradation or composite, over the whole image; ``"clean"`` for none.
            dial: The part of each operator's range of severities to draw from, for curricula.

        Raises:
            InputError: ``only`` is not known.
        """
        if only is None:
            layout = draw_layout(seeds.numpy(), self.config)
        elif only in self.sources:
            layout = uniform_layout(seeds.numpy(), self.sources.index(only))
        else:
            raise unknown_name(only, "degradation", self.sources)
        steps: list[Step] = []
        for source in np.unique(layout.source[layout.source > 0]):
            regions = np.flatnonzero(layout.source == source)
            drawn = self.members[source - 1].steps(layout.seed[regions], dial)
            steps += [replace(step, rows=regions[step.rows]) for step in drawn]
        return Plan(layout, steps, self.sources)

    def replay(self, records: Sequence[Record]) -> Plan:
        """The plan of recorded samples, which may come from different batches.

        Args:
            records: As ``Plan.record`` gives them, one for each sample.

        Raises:
            InputError: A record does not fit.
        """
        return plan_of_records(records, self.sources, self.operators)

    @torch.no_grad()
    def forward(self, clean: Tensor, plan: Plan, depth: Tensor | None = None) -> Synthesis:
        """Apply a plan.

        Args:
            clean: ``(B, 3, H, W)`` RGB in [0, 1].
            plan: As :meth:`plan` or :meth:`replay` returns it for the same batch.
            depth: ``(B, 1, H, W)`` in [0, 1], 1 farthest, NaN where a sample has none.
        """
        layout, device, clean = plan.layout, clean.device, clean.float()
        layers = clean.new_empty(len(layout.sample), *clean.shape[1:])
        untouched = np.flatnonzero(layout.source == 0)
        layers[untouched] = clean[layout.sample[untouched]]
        touched = np.zeros((len(layers), len(self.names) + 1), dtype=np.float32)
        touched[untouched, 0] = 1.0
        lead = torch.tensor(layout.source, device=device)
        strongest = layers.new_full((len(layers),), -1.0)
        for step, parameters in zip(plan.steps, moved(plan.steps, device), strict=True):
            regions, samples = step.rows, layout.sample[step.rows]
            if depth is not None and step.operator.uses_depth:
                parameters["depth"] = depth[torch.from_numpy(samples).to(device)]
            begun = touched[regions[0]].any()  # a step comes first for all of its regions or for none
            source, taken = (layers, regions) if begun else (clean, samples)
            label = 1 + self.names.index(step.operator.name)
            touched[regions, label] = 1.0
            in_composite = layout.source[regions] > len(self.names)
            before = source[taken] if in_composite.any() else None
            step.operator.apply_to_rows(source, taken, parameters, layers, regions)
            if before is not None:
                rows = torch.from_numpy(regions).to(device)
                change = (layers[rows] - before).abs().mean(dim=(1, 2, 3))
                better = change > strongest[rows]
                lead[rows] = torch.where(better, label, lead[rows])
                strongest[rows] = torch.where(better, change, strongest[rows])
        covered = torch.from_numpy(touched).to(device)
        first = torch.from_numpy(np.flatnonzero(layout.order == 0)).to(device)
        size = (clean.shape[2], clean.shape[3])
        degraded = layers if len(first) == len(layers) else layers.index_select(0, first)
        labels, shares = lead[first].view(-1, 1, 1).expand(-1, *size), covered[first]
        mixed = np.unique(layout.sample[layout.order > 0])
        if len(mixed):
            where = torch.from_numpy(mixed).to(device)
            labels = labels.clone()
            degraded[where], labels[where], shares[where] = _painted(layers, lead, covered, layout, mixed)
        return Synthesis(degraded, labels, shares, plan)


def _painted(
    layers: Tensor, lead: Tensor, touched: Tensor, layout: Layout, mixed: NDArray[np.int64]
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay the regions of samples on one another, from the last to the first.

    Args:
        layers: ``(R, 3, H, W)`` each region's degradation, over the whole image.
        lead: ``(R,)`` each region's label.
        touched: ``(R, K + 1)`` 1 for each degradation that a region has.
        layout: The layout.
        mixed: ``(M,)`` the samples with several regions.

    Returns:
        ``degraded``, ``labels`` and ``shares`` of these samples.
    """
    size = (layers.shape[2], layers.shape[3])
    bare = layers.new_ones(len(mixed), *size)
    most = torch.zeros_like(bare)
    degraded = layers.new_zeros(len(mixed), *layers.shape[1:])
    labels = torch.zeros_like(bare, dtype=torch.int64)
    shares = layers.new_zeros(len(mixed), touched.shape[1])
    several = np.isin(layout.sample, mixed)
    for order in range(int(layout.order.max()), -1, -1):
        regions = np.flatnonzero(several & (layout.order == order))
        where = torch.from_numpy(np.searchsorted(mixed, layout.sample[regions])).to(layers.device)
        rows = torch.from_numpy(regions).to(layers.device)
        weight = bare[where] * coverage(layout, regions, size, layers.device)
        bare[where] -= weight
        degraded[where] += weight[:, None] * layers[rows]
        better = weight > most[where]
        labels[where] = torch.where(better, lead[rows].view(-1, 1, 1), labels[where])
        most[where] = torch.where(better, weight, most[where])
        area = weight.sum(dim=2).sum(dim=1) / (size[0] * size[1])  # one sum over both would round by the threads
        shares[where] += area[:, None] * touched[rows]
    return degraded, labels, shares


def _share(value: float, key: str) -> float:
    if not 0.0 <= value <= 1.0:
        message = f"{key} is {value}; expected a share within [0, 1]"
        raise InputError(message)
    return value
