"""What an evaluation says of images that are unlike any adapter."""

import csv
import json
from pathlib import Path

import pytest
import torch

from abair_pl.bundle import Bundle, save_estimator
from abair_pl.evaluation.evaluate import evaluate
from abair_pl.images import read_photograph
from abair_pl.models.calibration import Calibration, energy_score


@pytest.fixture
def between(bundle_copy: Path, photographs: Path) -> Path:
    """A bundle to which half of the eight photographs are unlike any adapter."""
    bundle = Bundle.open(bundle_copy)
    estimator = bundle.estimator().eval()
    with torch.no_grad():
        logits = torch.cat([estimator(read_photograph(path).pixels[None]) for path in photographs.iterdir()])
    threshold = energy_score(logits, 1.0).median().item() + 1e-9
    save_estimator(bundle_copy, bundle, estimator, {}, Calibration(threshold=threshold))
    return bundle_copy


def test_rows_and_means_tell_the_unknown_where_the_estimator_was_asked(
    between: Path, photographs: Path, tmp_path: Path
) -> None:
    blends = ["none", "soft", "one_hot"]
    evaluate(tmp_path, between, input=photographs, target=photographs, blend=blends, device="cpu")
    results = json.loads((tmp_path / "results.json").read_text())
    asked = [row for row in results["images"] if "unknown" in row]
    assert {row["blend"] for row in asked} == {"soft", "one_hot"}
    assert [row["unknown"] for row in asked].count(True) == 8
    means = results["mean_by"][""]
    assert means["soft"]["unknown"] == means["one_hot"]["unknown"] == 0.5
    assert "unknown" not in means["none"] | results["mean"]
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["unknown"] for row in rows if row["blend"] == "none"] == [""] * 8
    assert sorted(row["unknown"] for row in rows if row["blend"] == "soft") == ["False"] * 4 + ["True"] * 4
