from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from abair_pl.errors import InputError
from abair_pl.evaluation.benchmark.classical import ClassicalMethod
from abair_pl.evaluation.classical.base import Pixels
from abair_pl.evaluation.classical.registry import classical_method
from abair_pl.evaluation.pairs import PairSource, side_by_side
from abair_pl.evaluation.suite import Method


def row(name: str) -> ClassicalMethod:
    return ClassicalMethod(Method(name, classical=name), classical_method(name))


def test_a_method_is_for_its_degradations_alone() -> None:
    assert row("median").is_for("rain")
    assert row("median").is_for("snow")
    assert not row("median").is_for("noise")
    assert not row("median").is_for("")


def test_what_has_to_be_told_must_be_known() -> None:
    row("richardson_lucy").check("blur", "blur")
    row("non_local_means").check("noise", "")
    for made in ("", "noise", "blur+noise"):
        with pytest.raises(InputError, match=r"has to be told the true kernel.* nobody knows it of these images"):
            row("richardson_lucy").check("blur", made)


@pytest.mark.parametrize(
    ("degradation", "oracle", "told"),
    [("noise:sigma=25", "noise", True), ("blur+noise:sigma=25", "noise", False), ("noise|noise", "noise", False)],
)
def test_the_plan_is_told_where_it_is_of_this_degradation_alone(
    degradation: str, oracle: str, told: bool, photographs: Path
) -> None:
    made = side_by_side(degradation)
    pair = PairSource("photo", photographs / "photo-1.png", None, degradation, 0, 0, made).load()
    heard: list[object] = []

    def listen(pixels: Pixels, plan: object) -> Pixels:
        heard.append(plan)
        return pixels

    listener = replace(row("non_local_means"), classical=replace(classical_method("bm3d"), restore=listen))
    listener.restore(pair.degraded, oracle, pair.plan)
    assert heard == [pair.plan if told else None]
    assert (pair.plan is None) == ("|" in degradation)


def test_pixels_come_back_in_order_within_bounds() -> None:
    image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))

    def stretched(pixels: Pixels, plan: object) -> Pixels:
        assert pixels.shape == (20, 30, 3)
        assert pixels.dtype == np.float32
        assert cv2.getNumThreads() == torch.get_num_threads()
        return pixels * 2.0 - 0.5

    method = replace(row("clahe"), classical=replace(classical_method("clahe"), restore=stretched))
    before = cv2.getNumThreads()
    result, unknown = method.restore(image, "low_light", None)
    assert torch.allclose(result.restored, (image * 2.0 - 0.5).clamp(0.0, 1.0))
    assert result.weights == {}
    assert unknown is None
    assert cv2.getNumThreads() == before


def test_keys_and_facts_tell_what_shapes_results(monkeypatch: pytest.MonkeyPatch) -> None:
    first = row("non_local_means")
    key = first.key
    assert key == row("non_local_means").key
    assert key != row("clahe").key
    assert "told the standard deviation of the noise" in first.facts
    assert first.parameters is None
    assert first.source == "classical non_local_means"
    monkeypatch.setattr("abair_pl.evaluation.classical.base.version", lambda package: "0.0")
    assert row("non_local_means").key != key
    assert row("non_local_means").facts.endswith("opencv-python-headless 0.0")
