"""What docs/estimator.md says is what the package does."""

import re
from pathlib import Path

import pytest
import torch

from abair_pl.models.calibration import ACCEPTED_SHARE, Calibration
from abair_pl.models.estimator import Estimator, native_crops
from abair_pl.models.presets import PRESETS
from abair_pl.modules.estimator import EstimatorModule

PAGE = " ".join((Path(__file__).parents[1] / "docs" / "estimator.md").read_text().split())


@pytest.mark.parametrize("preset", PRESETS)
def test_page_gives_the_number_of_parameters(preset: str) -> None:
    with torch.device("meta"):
        estimator = Estimator(PRESETS[preset].estimator_dim, 6)
    count = sum(parameter.numel() for parameter in estimator.parameters())
    sentence = PAGE.partition("The estimator has ")[2].partition(". ")[0]
    sizes = re.findall(r"([\d.]+) M|`(\w+)`", sentence)
    before = [size for size, _ in sizes[: sizes.index(("", preset))] if size]
    assert before[-1] == f"{count / 1e6:.2f}"


def test_page_gives_the_crops() -> None:
    crops = native_crops(torch.rand(1, 3, 400, 500))
    assert crops.shape[1] == 25
    assert f"25 crops** of {crops.shape[3]} x {crops.shape[4]} pixels" in PAGE


def test_page_gives_the_accepted_share() -> None:
    assert f"that {ACCEPTED_SHARE:.0%} of these images".replace("%", " %") in PAGE


def test_without_validation_nothing_is_unknown() -> None:
    assert "has temperature 1 and never says `unknown`" in PAGE
    assert Calibration() == Calibration(temperature=1.0, threshold=None)


def test_page_names_what_is_logged(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = EstimatorModule(bundle_path, tmp_path / "bundle")
    logged: list[str] = []
    monkeypatch.setattr(module, "log", lambda name, *_, **__: logged.append(name))
    monkeypatch.setattr(module, "log_dict", lambda values, **_: logged.extend(values))
    module.accuracy.update(torch.ones(1))
    module.log_estimates("val", torch.randn(8, 6), torch.arange(8) % 6)
    assert set(re.findall(r"`(val/\w+)`", PAGE)) == {*logged, "val/temperature"}
