from dataclasses import replace
from typing import Any

import pytest

from abair_pl.bundle import Bundle
from abair_pl.card.figures import are_figures, cell, figure_lines, weights_digest
from abair_pl.models.calibration import Calibration

SUITES = {
    "Denoising": {
        "Kodak24 at 15": {"input": [24.61, 0.5], "SW": [31.234, 0.9]},
        "a|b": {"input": [20.0, 0.4], "BM3D": [29, 1]},
    },
    "Pairs": {"Rain100H": {"input": [13.0, 0.3]}},
}


@pytest.fixture
def values(bundle: Bundle) -> dict[str, Any]:
    """The configuration of a bundle with figures of its weights."""
    config = bundle.config.values()
    return {**config, "figures": {"of": weights_digest(config), "suites": SUITES}}


def test_a_table_for_each_suite(values: dict[str, Any]) -> None:
    lines = figure_lines(values)
    assert lines[0] == "## Figures"
    start = lines.index("| Denoising | input | SW | BM3D |")
    assert lines[start : start + 5] == [
        "| Denoising | input | SW | BM3D |",
        "|---|---|---|---|",
        "| Kodak24 at 15 | 24.61 / 0.500 | **31.23 / 0.900** | - |",
        r"| a\|b | 20.00 / 0.400 | - | **29.00 / 1.000** |",
        "",
    ]
    assert lines[start + 5 :] == ["| Pairs | input |", "|---|---|", "| Rain100H | **13.00 / 0.300** |", ""]


def test_figures_of_other_weights_are_not_shown(bundle: Bundle, values: dict[str, Any]) -> None:
    changes: list[dict[str, Any]] = [
        {"backbone_sha256": "0"},
        {"estimator_sha256": "0"},
        {"calibration": Calibration(2.0)},
        {"adapter_files": {**bundle.config.adapter_files, "rain": {}}},
    ]
    for change in changes:
        changed = replace(bundle.config, **change).values()
        assert figure_lines({**changed, "figures": values["figures"]}) == []
    assert figure_lines(bundle.config.values()) == []
    assert figure_lines({**values, "provenance": {}}) != []


@pytest.mark.parametrize(
    "value", [{}, {"of": "", "suites": {}}, {"of": "a", "suites": SUITES}, {"of": "", "suites": {"a": {}}}], ids=str
)
def test_what_figures_are(value: object) -> None:
    assert are_figures(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"of": ""},
        {"suites": {}},
        {"of": "", "suites": {}, "more": 1},
        {"of": 1, "suites": {}},
        {"of": "", "suites": []},
        {"of": "", "suites": {"a": []}},
        {"of": "", "suites": {"a": {"b": [1.0, 2.0]}}},
        {"of": "", "suites": {"a": {"b": {"c": [1.0]}}}},
        {"of": "", "suites": {"a": {"b": {"c": ["1", 2.0]}}}},
        {"of": "", "suites": {"a": {"b": {"c": [True, 2.0]}}}},
        {"of": "", "suites": {"a": {"b": {"c": None}}}},
    ],
    ids=str,
)
def test_what_figures_are_not(value: object) -> None:
    assert not are_figures(value)


def test_a_cell_is_one_line_without_bars() -> None:
    assert cell("a |\n b\t") == r"a \| b"
