"""What was drawn for a batch, and its JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from abair_pl.degradations.base import Degradation, Parameters, Step
from abair_pl.degradations.cutmix import Layout
from abair_pl.degradations.random import SEED_LIMIT
from abair_pl.errors import InputError

Record = list[dict[str, Any]]
"""The regions of one sample in the order of painting, in plain JSON types."""


@dataclass(frozen=True)
class Plan:
    """All that was drawn for a batch; the same plan gives the same pixels on the same device.

    Attributes:
        layout: Which degradation covers which region.
        steps: What is done, in this order; ``rows`` are regions of the layout.
        sources: The names that the layout's sources stand for, ``clean`` first.
    """

    layout: Layout
    steps: list[Step]
    sources: Sequence[str]

    def record(self, sample: int) -> Record:
        """What one sample got: ``Synthesizer.replay`` makes the same pixels of it.

        Args:
            sample: Index in the batch.
        """
        regions = np.flatnonzero(self.layout.sample == sample)
        return [
            {
                "source": self.sources[self.layout.source[region]],
                **self.layout.record(region),
                "steps": [
                    {
                        "degradation": step.operator.name,
                        "kind": step.operator.kind,
                        "parameters": {name: value[row].item() for name, value in step.parameters.items()},
                    }
                    for step in self.steps
                    for row in np.flatnonzero(step.rows == region)
                ],
            }
            for region in regions[np.argsort(self.layout.order[regions])]
        ]


def plan_of_records(records: Sequence[Record], sources: Sequence[str], operators: Sequence[Degradation]) -> Plan:
    """The plan of recorded samples, as one batch.

    Args:
        records: As :meth:`Plan.record` gives them, one for each sample.
        sources: The names that sources stand for, ``clean`` first.
        operators: What may be asked for, by name and kind.

    Raises:
        InputError: A record is not as :meth:`Plan.record` writes them, or names what is not among sources or operators.
    """
    known = {(operator.name, operator.kind): operator for operator in operators}
    try:
        for record in records:
            _check_regions(record)
        layout = Layout.from_records([list(record) for record in records], {name: i for i, name in enumerate(sources)})
        chains = [region["steps"] for record in records for region in record]
        steps = []
        for position in range(max(map(len, chains), default=0)):
            wanted: dict[Degradation, list[int]] = {}
            for region, chain in enumerate(chains):
                if position < len(chain):
                    operator = known[chain[position]["degradation"], chain[position]["kind"]]
                    wanted.setdefault(operator, []).append(region)
            for operator, regions in wanted.items():
                drawn = [chains[region][position]["parameters"] for region in regions]
                steps.append(Step(operator, np.array(regions, dtype=np.int64), _stacked(operator, drawn)))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        message = (
            f"a record does not fit ({type(error).__name__}: {error}); expected one of Plan.record() for {sources}"
        )
        raise InputError(message) from error
    return Plan(layout, steps, sources)


_SHAPED_BY = {"whole": {}, "rectangle": {"box": 4}, "smooth": {"level": 1, "softness": 1}}


def _check_regions(record: Record) -> None:
    """Refuse a sample that leaves pixels uncovered, or a region without what its shape needs."""
    if not record or record[0]["shape"] != "whole":
        message = "a sample begins with no whole region"
        raise ValueError(message)
    for region in record:
        _check_seed(region["seed"])
        for key, count in _SHAPED_BY[region["shape"]].items():
            if np.size(region[key]) != count or not np.isfinite(region[key]).all():
                message = f"{key} is {region[key]}"
                raise ValueError(message)


def _check_seed(seed: float) -> None:
    if not 0 <= seed < SEED_LIMIT:
        message = f"seed is {seed}"
        raise ValueError(message)


def _stacked(operator: Degradation, drawn: Sequence[Mapping[str, float]]) -> Parameters:
    """The parameters of several samples, which must be those that the operator draws."""
    names = operator.draw(np.zeros(1, dtype=np.int64)).keys()
    for values in drawn:
        _check_seed(values["seed"])
        if values.keys() != names or not all(math.isfinite(value) for value in values.values()):
            message = f"parameters of {operator.name} are {dict(values)}, not numbers for {', '.join(names)}"
            raise ValueError(message)
    return {
        name: torch.tensor([values[name] for values in drawn], dtype=torch.int64 if name == "seed" else torch.float32)
        for name in names
    }


def moved(steps: Sequence[Step], device: torch.device) -> list[Parameters]:
    """The steps' parameters on a device, in one transfer for each dtype instead of one for each tensor."""
    if device.type == "cpu":
        return [dict(step.parameters) for step in steps]
    flat = [(index, name, value) for index, step in enumerate(steps) for name, value in step.parameters.items()]
    here: list[Parameters] = [{} for _ in steps]
    for dtype in {value.dtype for _, _, value in flat}:
        same = [entry for entry in flat if entry[2].dtype == dtype]
        packed = torch.cat([value for _, _, value in same]).to(device, non_blocking=True)
        pieces = packed.split([len(value) for _, _, value in same])
        for (index, name, _), piece in zip(same, pieces, strict=True):
            here[index][name] = piece
    return here
