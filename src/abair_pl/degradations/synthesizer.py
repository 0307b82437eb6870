"""Clean photographs in, degraded ones with labels and parameters out, all on the device."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from abair_pl.degradations.base import FULL_DIAL, Degradation, Range, Step
from abair_pl.degradations.combinations import AnyDegradation, Composite
from abair_pl.degradations.cutmix import MAX_REGIONS, Layout, LayoutConfig, coverage, draw_layout, uniform_layout
from abair_pl.degradations.plan import Plan, Record, plan_of_records
from abair_pl.degradations.transfer import moved
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
        frequencies: How often a degradation is drawn by name, relative to the others; those not named have 1.

    Raises:
        InputError: There is no degradation, two have one name, a composite has a member that is not among them, a
            frequency is of another, or a number is out of bounds.
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
        frequencies: Mapping[str, float] = MappingProxyType({}),
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
        for name, frequency in frequencies.items():
            if name not in self.names:
                raise unknown_name(name, "degradation with a frequency", self.names)
            if not 0.0 < frequency < math.inf:
                message = f"frequency of {name} is {frequency}; expected a number above 0, such as 2 for twice as often"
                raise InputError(message)
        self.config = LayoutConfig(
            degradations=len(degradations),
            composites=len(composites),
            cutmix_probability=_share(cutmix_probability, "cutmix_probability"),
            cutmix_regions=cutmix_regions,
            smooth_probability=_share(smooth_probability, "smooth_probability"),
            clean_probability=_share(clean_probability, "clean_probability"),
            composite_probability=_share(composite_probability, "composite_probability"),
            frequencies=tuple(frequencies.get(name, 1.0) for name in self.names),
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
        members = {name: _names(member) for name, member in zip(self.sources[1:], self.members, strict=True)}
        return plan_of_records(records, {"clean": [], **members}, self.operators)

    @torch.no_grad()
    def forward(self, clean: Tensor, plan: Plan, depth: Tensor | None = None) -> Synthesis:
        """Apply a plan.

        Args:
            clean: ``(B, 3, H, W)`` RGB in [0, 1].
            plan: As :meth:`plan` or :meth:`replay` returns it for the same batch.
            depth: ``(B, 1, H, W)`` in [0, 1], 1 farthest, NaN where a sample has none.
        """
        layout, device, clean = plan.layout, clean.device, clean.float()
        at = moved(self._indices(plan), device)
        layers = clean.new_empty(len(layout.sample), *clean.shape[1:])
        layers.index_copy_(0, at["clean/regions"], clean.index_select(0, at["clean/samples"]))
        lead = at["lead"].clone()
        strongest = layers.new_full((len(layers),), -1.0)
        begun: set[int] = set()
        for index, step in enumerate(plan.steps):
            regions, samples = at[f"{index}/regions"], at[f"{index}/samples"]
            parameters = {name: at[f"{index}/parameters/{name}"] for name in step.parameters}
            if depth is not None and step.operator.uses_depth:
                parameters["depth"] = depth.index_select(0, samples)
            first = begun.isdisjoint(step.rows.tolist())  # for all of a step's regions, or for none
            begun.update(step.rows.tolist())
            source, taken = (clean, samples) if first else (layers, regions)
            in_composite = bool((layout.source[step.rows] > len(self.names)).any())
            before = source.index_select(0, taken) if in_composite else None
            step.operator.apply_to_rows(source, taken, parameters, layers, regions)
            if before is not None:
                change = (layers.index_select(0, regions) - before).abs().mean(dim=(1, 2, 3))
                better = change > strongest[regions]
                lead[regions] = torch.where(better, 1 + self.names.index(step.operator.name), lead[regions])
                strongest[regions] = torch.where(better, change, strongest[regions])
        whole, size = at["whole"], (clean.shape[2], clean.shape[3])
        degraded = layers if len(whole) == len(layers) else layers.index_select(0, whole)
        labels, shares = lead[whole].view(-1, 1, 1).expand(-1, *size), at["touched"][whole]
        if len(whole) < len(layers):
            labels, mixed = labels.clone(), at["mixed"]
            degraded[mixed], labels[mixed], shares[mixed] = _painted(layers, lead, at, layout)
        return Synthesis(degraded, labels, shares, plan)

    def _indices(self, plan: Plan) -> dict[str, Tensor]:
        """All that is drawn or looked up on the host, to be moved to the device at once."""
        layout = plan.layout
        clean = np.flatnonzero(layout.source == 0)
        touched = np.zeros((len(layout.sample), len(self.names) + 1), dtype=np.float32)
        touched[clean, 0] = 1.0
        mixed = np.unique(layout.sample[layout.order > 0])
        several = np.isin(layout.sample, mixed)
        arrays = {
            "lead": layout.source,
            "whole": np.flatnonzero(layout.order == 0),
            "clean/regions": clean,
            "clean/samples": layout.sample[clean],
            "mixed": mixed,
            "touched": touched,
        }
        upper = np.flatnonzero(layout.order > 0)
        for order in range(int(layout.order.max()) + 1):
            regions = np.flatnonzero(several & (layout.order == order))
            arrays[f"regions/{order}"] = regions
            arrays[f"where/{order}"] = np.searchsorted(mixed, layout.sample[regions])
            arrays[f"covers/{order}"] = np.searchsorted(upper, regions)
        parameters: dict[str, Tensor] = {}
        for index, step in enumerate(plan.steps):
            touched[step.rows, 1 + self.names.index(step.operator.name)] = 1.0
            arrays |= {f"{index}/regions": step.rows, f"{index}/samples": layout.sample[step.rows]}
            parameters |= {f"{index}/parameters/{name}": value for name, value in step.parameters.items()}
        return parameters | {name: torch.from_numpy(array) for name, array in arrays.items()}


def _painted(layers: Tensor, lead: Tensor, at: dict[str, Tensor], layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Lay the regions of samples with several on one another, from the last to the first.

    Args:
        layers: ``(R, 3, H, W)`` each region's degradation, over the whole image.
        lead: ``(R,)`` each region's label.
        at: Indices, on the device.
        layout: The layout.

    Returns:
        ``degraded``, ``labels`` and ``shares`` of these samples.
    """
    size, touched = (layers.shape[2], layers.shape[3]), at["touched"]
    covered = coverage(layout, np.flatnonzero(layout.order > 0), size, layers.device)
    bare = layers.new_ones(len(at["mixed"]), *size)
    most = torch.zeros_like(bare)
    degraded = layers.new_zeros(len(bare), *layers.shape[1:])
    labels = torch.zeros_like(bare, dtype=torch.int64)
    shares = layers.new_zeros(len(bare), touched.shape[1])
    for order in range(int(layout.order.max()), -1, -1):
        where, rows = at[f"where/{order}"], at[f"regions/{order}"]
        weight = bare[where]
        if order:
            weight = weight * covered[at[f"covers/{order}"]]
        bare[where] -= weight
        degraded[where] += weight[:, None] * layers[rows]
        better = weight > most[where]
        labels[where] = torch.where(better, lead[rows].view(-1, 1, 1), labels[where])
        most[where] = torch.where(better, weight, most[where])
        area = weight.sum(dim=2).sum(dim=1) / (size[0] * size[1])  # one sum over both would round by the threads
        shares[where] += area[:, None] * touched[rows]
    return degraded, labels, shares


def _names(degradation: AnyDegradation) -> list[str]:
    """The degradations that one stands for, one after the other."""
    if isinstance(degradation, Composite):
        return [name for member in degradation.members for name in _names(member)]
    return [degradation.name]


def _share(value: float, key: str) -> float:
    if not 0.0 <= value <= 1.0:
        message = f"{key} is {value}; expected a share within [0, 1]"
        raise InputError(message)
    return value
