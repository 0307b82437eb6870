from typing import Any

import pytest

from abair_pl.card.limits import limits

SYNTHETIC = "It was trained on synthetic damage of clean photographs alone, and has seen no real pair."
CLEAN = {"steps": 1, "data_sources": {"a": 1.0}, "data_layouts": {"a": "clean"}}


def config(**changes: Any) -> dict[str, Any]:
    """What the sentences follow from, of a complete bundle."""
    values: dict[str, Any] = {"preset": "paper", "degradations": ["rain", "haze"], "adapters": {"rain": {}, "snow": {}}}
    values |= {"estimated": {"rain": "", "snow": ""}, "calibration": {"temperature": 1.0, "threshold": -3.0}}
    return {**values, "provenance": {"pretrain": CLEAN, "adapter/rain": CLEAN}, **changes}


def test_a_complete_bundle_has_the_limits_of_what_it_has_seen() -> None:
    found = limits(config())
    assert found[:2] == ["Damage of other kinds than rain, snow may stay as it is, or become worse.", SYNTHETIC]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"estimated": {}}, "there is no estimator"),
        ({"calibration": {"temperature": 1.0, "threshold": None}}, "its estimator has no threshold"),
        ({"preset": "tiny"}, "preset small has room"),
        ({"preset": "small"}, "preset paper has room"),
        ({"provenance": {"pretrain": {"rounded_to": "float16"}}}, "rounded to float16"),
        ({"provenance": {"a": {"patch_px": 64}, "b": {"patch_px": 128}}}, "crops of at most 128 px"),
        ({"adapters": {}}, "other kinds than rain, haze"),
    ],
)
def test_each_fact_has_its_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert sum(sentence in line for line in limits(config(**changes))) == 1
    assert not any(sentence in line for line in limits(config()))


@pytest.mark.parametrize(
    "facts",
    [
        {"imported_from": "restormer"},
        {"steps": 1},
        {**CLEAN, "data_layouts": {}},
        {**CLEAN, "data_layouts": {"a": "paired"}},
        {**CLEAN, "data_layouts": {"a": "clean, paired"}},
        {**CLEAN, "data_layouts": "clean"},
        {**CLEAN, "data_sources": {"a": 0.5, "b": 0.5}},
    ],
    ids=str,
)
def test_no_real_pair_is_said_only_where_it_is_known_of_every_phase(facts: dict[str, Any]) -> None:
    assert SYNTHETIC not in limits(config(provenance={"pretrain": facts, "adapter/rain": CLEAN}))
