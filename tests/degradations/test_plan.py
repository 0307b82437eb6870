import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import (
    BUILT_IN,
    Plan,
    RandomGaussianNoise,
    Synthesizer,
    resolve_composites,
    resolve_degradations,
)
from abair_pl.degradations.plan import Record
from abair_pl.errors import InputError

BATCH = 24
SEEDS = torch.arange(BATCH) * 104_729 + 5


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    """Everything there is, in regions and composites."""
    made = resolve_degradations(list(BUILT_IN))
    composites = resolve_composites(["blur+noise", "jpeg>rain>noise", "low_light+haze"], made)
    return Synthesizer(
        made,
        composites,
        composite_probability=0.3,
        cutmix_probability=0.6,
        clean_probability=0.1,
        smooth_probability=0.5,
    )


@pytest.fixture
def clean(photo: Tensor) -> Tensor:
    """``(24, 3, 40, 48)``."""
    return photo.repeat(BATCH // len(photo), 1, 1, 1)


def _records(plan: Plan) -> list[Record]:
    """The samples' records after a round trip through JSON."""
    found: list[Record] = json.loads(json.dumps([plan.record(i) for i in range(BATCH)], allow_nan=False))
    return found


def test_records_replay_bit_for_bit_in_one_batch(synthesizer: Synthesizer, clean: Tensor) -> None:
    plan = synthesizer.plan(SEEDS)
    made, again = synthesizer(clean, plan), synthesizer(clean, synthesizer.replay(_records(plan)))
    assert torch.equal(again.degraded, made.degraded)
    assert torch.equal(again.labels, made.labels)
    assert torch.equal(again.shares, made.shares)


def test_records_replay_bit_for_bit_alone_and_in_another_order(synthesizer: Synthesizer, clean: Tensor) -> None:
    plan = synthesizer.plan(SEEDS)
    made, records = synthesizer(clean, plan), _records(plan)
    mixed = [7, 3, 3, 21, 0, 14]
    for rows in ([i] for i in range(BATCH)), [mixed], [list(range(BATCH))[::-1]]:
        for chosen in rows:
            again = synthesizer(clean[chosen], synthesizer.replay([records[i] for i in chosen]))
            assert torch.equal(again.degraded, made.degraded[chosen])
            assert torch.equal(again.labels, made.labels[chosen])
            assert torch.equal(again.shares, made.shares[chosen])


def test_records_of_several_batches_replay_as_one(synthesizer: Synthesizer, clean: Tensor) -> None:
    first, second = synthesizer.plan(SEEDS[:5]), synthesizer.plan(SEEDS[12:17])
    records = [first.record(2), second.record(0), first.record(4)]
    expected = [synthesizer(clean[:5], plan).degraded for plan in (first, second)]
    again = synthesizer(clean[:3], synthesizer.replay(records)).degraded
    photos = clean[[0, 1, 2]]
    for index, (batch, row) in enumerate([(0, 2), (1, 0), (0, 4)]):
        plan = (first, second)[batch]
        alone = synthesizer(photos[index : index + 1], synthesizer.replay([plan.record(row)])).degraded
        assert torch.equal(again[index], alone[0])
    assert torch.equal(synthesizer(clean[2:3], synthesizer.replay([records[0]])).degraded[0], expected[0][2])


def test_a_plan_from_records_records_the_same(synthesizer: Synthesizer) -> None:
    records = _records(synthesizer.plan(SEEDS))
    assert _records(synthesizer.replay(records)) == records


def test_replay_does_not_draw(clean: Tensor) -> None:
    """A changed parameter shows, in its own sample alone."""
    synthesizer = Synthesizer([RandomGaussianNoise(severity=(0.1, 0.1))])
    record = synthesizer.plan(SEEDS[:1]).record(0)
    changed = json.loads(json.dumps(record))
    changed[0]["steps"][0]["parameters"]["sigma_8bit"] *= 2
    made = synthesizer(clean[:1].expand(2, -1, -1, -1), synthesizer.replay([record, changed])).degraded
    assert float((made[1] - clean[0]).std()) > 1.4 * float((made[0] - clean[0]).std())


def test_records_say_what_was_done_where(synthesizer: Synthesizer) -> None:
    plan = synthesizer.plan(SEEDS)
    known = {(operator.name, operator.kind): operator for operator in synthesizer.operators}
    for record in _records(plan):
        assert 1 <= len(record) <= 4
        assert record[0]["shape"] == "whole"
        for region in record:
            names = [step["degradation"] for step in region["steps"]]
            source = region["source"]
            assert names == ([] if source == "clean" else source.replace(">", "+").split("+"))
            for step in region["steps"]:
                drawn = known[step["degradation"], step["kind"]].draw(np.arange(1))
                assert step["parameters"].keys() == drawn.keys()
                assert isinstance(step["parameters"]["seed"], int)


def _without(key: str) -> Callable[[Any], Any]:
    def damage(record: Any) -> Any:
        del record[0][key]
        return record

    return damage


def _with(path: list[Any], value: Any) -> Callable[[Any], Any]:
    def damage(record: Any) -> Any:
        inner = record
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return record

    return damage


STEP = [0, "steps", 0]


@pytest.mark.parametrize(
    "damage",
    [
        *(_without(key) for key in ("source", "seed", "shape", "steps")),
        _with([0, "source"], "sleet"),
        _with([0, "shape"], "round"),
        _with([0, "seed"], "seven"),
        _with([0, "seed"], None),
        _with([0, "seed"], -1),
        _with([0, "seed"], 2**53),
        _with([0, "shape"], "rectangle"),
        lambda record: [*record, {**record[0], "shape": "rectangle"}],
        lambda record: [*record, {**record[0], "shape": "rectangle", "box": [0.0, 0.0, 1.0]}],
        lambda record: [*record, {**record[0], "shape": "smooth", "level": 0.5}],
        lambda record: [*record, {**record[0], "shape": "smooth", "level": 0.5, "softness": float("nan")}],
        _with([*STEP, "degradation"], "sleet"),
        _with([*STEP, "kind"], "sleet"),
        _with([*STEP, "parameters"], {}),
        _with([*STEP, "parameters", "sigma_8bit"], "strong"),
        _with([*STEP, "parameters", "sigma_8bit"], None),
        _with([0, "steps", 0], {}),
        _with([0, "steps"], 3),
        _with([0], "noise"),
        lambda _: {"source": "noise"},
        lambda _: [],
        lambda _: None,
    ],
)
def test_damaged_records_are_refused_in_one_line(damage: Callable[[Any], Any]) -> None:
    synthesizer = Synthesizer([RandomGaussianNoise()])
    good, bad = (json.loads(json.dumps(synthesizer.plan(SEEDS[:1]).record(0))) for _ in range(2))
    with pytest.raises(InputError, match="a record does not fit") as caught:
        synthesizer.replay([good, damage(bad)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda parameters: parameters.pop("sigma_8bit"),
        lambda parameters: parameters.update(extra=1.0),
        lambda parameters: parameters.update(seed=-1),
        lambda parameters: parameters.update(sigma_8bit=float("nan")),
    ],
    ids=["missing", "extra", "negative seed", "nan"],
)
def test_parameters_that_are_not_the_operators_are_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    synthesizer = Synthesizer([RandomGaussianNoise()])
    record = json.loads(json.dumps(synthesizer.plan(SEEDS[:1]).record(0)))
    change(record[0]["steps"][0]["parameters"])
    with pytest.raises(InputError, match="a record does not fit"):
        synthesizer.replay([record])


@pytest.mark.parametrize(
    ("source", "steps"),
    [("noise", 0), ("clean", 1), ("rain", 1), ("noise", 2), ("rain>noise", 1)],
)
def test_steps_that_are_not_the_sources_are_refused(source: str, steps: int) -> None:
    made = resolve_degradations(["rain", "noise"], ["noise:sigma=25"])
    synthesizer = Synthesizer(made, resolve_composites(["rain>noise"], made))
    record = json.loads(json.dumps(synthesizer.plan(SEEDS[:1], "noise").record(0)))
    noise = record[0]["steps"][0]
    record[0] |= {"source": source, "steps": [noise] * steps}
    with pytest.raises(InputError, match=f"the steps of {source} are"):
        synthesizer.replay([record])
