from collections.abc import Callable
from typing import Any

import pytest

from abair_pl.bundle import Bundle
from abair_pl.doctor.sizes import check_sizes
from abair_pl.errors import InputError
from abair_pl.models.adapters import LoRA
from abair_pl.models.presets import PRESETS


def test_paper_has_the_sizes_of_the_paper() -> None:
    """59 M in all, of which a model learns three more degradations by training 8 M; adapters as in Table 7."""
    facts = check_sizes("paper").facts
    assert facts["whole_parameters"] == pytest.approx(59e6, rel=0.01)
    assert facts["new_parameters"] == pytest.approx(8e6, rel=0.05)
    for rank, expected in [(4, 3.6e6), (8, 7.2e6), (16, 14.3e6)]:
        assert facts[f"five_adapters_rank_{rank}_parameters"] == pytest.approx(expected, rel=0.03)


def test_sizes_are_those_of_what_is_trained(
    bundle: Bundle, make_adapter: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "nano", bundle.config.architecture)
    facts = check_sizes("nano").facts
    made = make_adapter(bundle, "rain", LoRA(rank=8))
    adapter = sum(parameter.numel() for parameter in made.parameters() if parameter.requires_grad)
    backbone = bundle.backbone()
    assert facts["adapter_rank_8_parameters"] == adapter
    assert facts["five_adapters_rank_8_parameters"] == 5 * adapter
    assert facts["backbone_parameters"] == sum(parameter.numel() for parameter in backbone.parameters())
    head = backbone.segmentation_head
    assert head is not None
    assert facts["segmentation_head_parameters"] == sum(parameter.numel() for parameter in head.parameters())
    estimator = sum(parameter.numel() for parameter in bundle.estimator().parameters())
    assert facts["estimator_parameters"] == estimator
    assert facts["whole_parameters"] == facts["backbone_parameters"] + 5 * adapter / 2 + estimator
    assert estimator < facts["new_parameters"] - 3 * adapter / 2 < 1.1 * estimator  # it knows three more classes


def test_flops_are_those_that_are_given_for_restormer() -> None:
    """140.99 G multiply-adds of convolutions, the figure that is given for it, and 13.89 G of attention."""
    assert check_sizes("restormer").facts["gflops_256x256"] == pytest.approx(2 * (140.99 + 13.89), abs=0.02)


def test_sizes_for_people_are_aligned_and_in_millions() -> None:
    lines = {line.name: line.text for line in check_sizes("restormer").lines}
    assert lines["backbone"].strip() == "26.13 M"
    assert lines["256 x 256 pixels"].strip() == "309.76 GFLOPs (a multiply-add is two)"
    assert len(lines) == 12
    assert {text.index(".") for text in lines.values()} == {5}


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match="unknown preset 'huge'"):
        check_sizes("huge")
