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


def plan_of_records(
    records: Sequence[Record], sources: Mapping[str, Sequence[str]], operators: Sequence[Degradation]
) -> Plan:
    """The plan of recorded samples, as one batch.

    Args:
        records: As :meth:`Plan.record` gives them, one for each sample.
        sources: The degradations, one after the other, that the name of each source stands for; ``clean`` first.
        operators: What may be asked for, by name and kind.

    Raises:
        InputError: A record is not as :meth:`Plan.record` writes them, or names what is not among sources or operators.
    """
    known = {(operator.name, operator.kind): operator for operator in operators}
    try:
        for record in records:
            _check_regions(record, sources)
        layout = Layout.from_records(
            [list(record) for record in records], {name: index for index, name in enumerate(sources)}
        )
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
        reason = f"{type(error).__name__}: {error}"
        message = f"a record does not fit ({reason}); expected one of Plan.record() for {', '.join(sources)}"
        raise InputError(message) from error
    return Plan(layout, steps, list(sources))


_SHAPED_BY = {"whole": {}, "rectangle": {"box": 4}, "smooth": {"level": 1, "softness": 1}}


def _check_regions(record: Record, sources: Mapping[str, Sequence[str]]) -> None:
    """Refuse a sample that leaves pixels uncovered, or a region without what its source or its shape needs."""
    if not record or record[0]["shape"] != "whole":
        message = "a sample begins with no whole region"
        raise ValueError(message)
    for region in record:
        _check_seed(region["seed"])
        names = [step["degradation"] for step in region["steps"]]
        if names != list(sources[region["source"]]):
            message = f"the steps of {region['source']} are {names}"
            raise ValueError(message)
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
