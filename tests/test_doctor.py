import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abair_pl.bundle import Bundle
from abair_pl.doctor import doctor
from abair_pl.errors import InputError
from abair_pl.models.adapters import LoRA
from abair_pl.models.presets import PRESETS


def test_json_holds_the_facts_of_machine_and_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor(preset="tiny", output=tmp_path / "not" / "yet", json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"torch", "lightning", "peft", "kornia", "python", "cpu_cores", "gpus", "free_disk_gib"} <= facts.keys()
    assert 1_000_000 <= facts["backbone_parameters"] <= 2_500_000
    assert 0 < facts["estimator_parameters"] < 500_000
    assert 1.0 < facts["gflops_256x256"] < 100.0
    assert facts["problems"] == []
    assert not (tmp_path / "not").exists()


def sizes(preset: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    assert doctor(preset=preset, json=True) == 0
    facts: dict[str, float] = json.loads(capsys.readouterr().out)
    return facts


def test_paper_has_the_sizes_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    """59 M in all, of which a model learns three more degradations by training 8 M; adapters as in Table 7."""
    facts = sizes("paper", capsys)
    assert facts["whole_parameters"] == pytest.approx(59e6, rel=0.01)
    assert facts["new_parameters"] == pytest.approx(8e6, rel=0.05)
    for rank, expected in [(4, 3.6e6), (8, 7.2e6), (16, 14.3e6)]:
        assert facts[f"five_adapters_rank_{rank}_parameters"] == pytest.approx(expected, rel=0.03)


def test_sizes_are_those_of_what_is_trained(
    bundle: Bundle,
    make_adapter: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(PRESETS, "nano", bundle.config.architecture)
    facts = sizes("nano", capsys)
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


def test_flops_are_those_that_are_given_for_restormer(capsys: pytest.CaptureFixture[str]) -> None:
    """140.99 G multiply-adds of convolutions, the figure that is given for it, and 13.89 G of attention."""
    assert sizes("restormer", capsys)["gflops_256x256"] == pytest.approx(2 * (140.99 + 13.89), abs=0.02)


def test_sizes_for_people_are_aligned_and_in_millions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor(preset="restormer", output=tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"backbone +26\.13 M", next(line for line in lines if line.startswith("backbone")))
    assert re.fullmatch(r"restoring 256 x 256 pixels +309\.76 GFLOPs \(a multiply-add is two\)", lines[-1])
    amounts = [line for line in lines if line.endswith(" M")]
    assert len(amounts) == 11
    assert len({line.rindex(".") for line in [*amounts, lines[-1]]}) == 1


def test_shards_are_counted(capsys: pytest.CaptureFixture[str], sample_shards: Path, tmp_path: Path) -> None:
    assert doctor(shards=str(sample_shards / "train"), output=tmp_path, json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["shards"], facts["samples"]) == (2, 8)


def test_missing_shards_are_a_problem(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor(shards=str(tmp_path / "train-{000000..000003}.tar"), output=tmp_path, json=True) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "train-000000.tar" in problem


def test_lines_are_for_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor(output=tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[0] == "torch" for line in lines)
    assert not any(line.startswith("backbone_parameters") for line in lines)


def test_unknown_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown preset 'huge'"):
        doctor(preset="huge", output=tmp_path)


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("abair_pl.doctor._PACKAGES", ("torch", "no-such-package"))
    assert doctor(json=True) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == [
        "no-such-package is not installed; run: pip install abair-pl"
    ]
