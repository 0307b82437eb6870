import json
from pathlib import Path

import pytest

from abair_pl.doctor import doctor
from abair_pl.errors import InputError


def test_json_holds_the_facts_of_machine_and_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert doctor(preset="tiny", output=tmp_path / "not" / "yet", json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"torch", "lightning", "peft", "kornia", "python", "cpu_cores", "gpus", "free_disk_gib"} <= facts.keys()
    assert 1_000_000 <= facts["backbone_parameters"] <= 2_500_000
    assert 0 < facts["estimator_parameters"] < 500_000
    assert 1.0 < facts["gflops_256x256"] < 100.0
    assert facts["problems"] == []
    assert not (tmp_path / "not").exists()


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
