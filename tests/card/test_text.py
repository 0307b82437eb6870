from typing import Any

import pytest
import yaml

from abair_pl.bundle import Bundle
from abair_pl.card.figures import weights_digest
from abair_pl.card.limits import limits
from abair_pl.card.text import model_card


def test_card_names_the_facts_of_the_bundle(bundle: Bundle) -> None:
    text = model_card(bundle.config.values())
    assert bundle.config.backbone_sha256 in text
    assert "preset `nano`" in text
    assert "Degradations of the segmentation head: rain, haze, noise, blur, low_light" in text
    assert "Degradations of the estimator: rain, haze, noise, blur, low_light" in text
    for name, made in bundle.config.adapters.items():
        assert f"| {name} | lora | rank {made.rank}, alpha 4.0 |" in text
    assert "--output OUT`" in text
    assert "| pretrain | 1 | - | - | - |  |" in text
    assert "| adapter/rain | 2 | - | - | - |  |" in text
    assert "hours of all phases" not in text
    assert "## Data" not in text
    assert "## Figures" not in text


def with_facts(bundle: Bundle, **facts: dict[str, Any]) -> str:
    """The card of a bundle with other facts about its phases."""
    return model_card({**bundle.config.values(), "provenance": facts})


def test_card_tells_of_a_sharpness_that_is_not_the_paper_s(bundle: Bundle) -> None:
    assert "power" not in model_card(bundle.config.values())
    text = model_card({**bundle.config.values(), "calibration": {"threshold": None, "sharpness": 2.0}})
    assert "- Soft weights: the estimator's probabilities to the power 2; the paper's are as they are\n" in text
    assert "logit" not in text
    biased = {"threshold": None, "sharpness": 1.0, "bias": [0.5, 0.0, -0.25, 0.0, 0.0, 0.0]}
    text = model_card({**bundle.config.values(), "calibration": biased})
    assert (
        f"- Added to the estimator's logits: clean +0.5, {[*bundle.config.estimated][1]} -0.25; the paper adds" in text
    )


def test_card_tells_how_long_training_took_and_on_what(bundle: Bundle) -> None:
    pretrain = {"steps": 1500, "samples_seen": 12000, "seconds": 7000.5, "hardware": "a | b, threads: 1", "seed": 3}
    text = with_facts(bundle, pretrain=pretrain, estimator={"seconds": 199.5, "config": "1a"})
    assert r"| pretrain | 1500 | 12000 | 7000.5 | a \| b, threads: 1 | seed 3 |" in text
    assert "| estimator | - | - | 199.5 | - | config 1a |" in text
    assert "\n2.0 hours of all phases together.\n" in text


def test_card_tells_what_each_phase_saw_and_its_licence(bundle: Bundle) -> None:
    data = {"data_layouts": {"photos": "clean"}, "data_licences": {"photos": "CC0-1.0"}}
    pretrain = {**data, "data_sources": {"photos": 0.75, "https://host/a.tar": 0.25}}
    text = with_facts(bundle, pretrain=pretrain, estimator={**data, "data_sources": {"photos": 1.0}})
    assert "| photos | clean | CC0-1.0 | pretrain 75%, estimator 100% |" in text
    assert "| https://host/a.tar | not recorded | not recorded | pretrain 25% |" in text
    same = with_facts(bundle, pretrain=pretrain, estimator={**data, "data_sources": {"photos": 0.75}})
    assert "| photos | clean | CC0-1.0 | 75% in every phase |" in same


def test_card_shows_figures_and_limits(bundle: Bundle) -> None:
    config = bundle.config.values()
    figures = {"of": weights_digest(config), "suites": {"a suite": {"a task": {"input": [20.0, 0.5]}}}}
    text = model_card({**config, "figures": figures})
    assert "| a task | **20.00 / 0.500** |" in text
    assert all(f"- {sentence}\n" in text for sentence in limits(config))


@pytest.mark.parametrize("value", [None, 3, "text", ["a"], {"a": "b"}, {"a": None}], ids=str)
def test_card_of_facts_that_somebody_else_wrote(value: object, bundle: Bundle) -> None:
    names = ("steps", "seconds", "hardware", "data_sources", "data_layouts", "data_licences", "patch_px", "rounded_to")
    text = with_facts(bundle, pretrain=dict.fromkeys(names, value))
    assert "## Limits" in text


def test_card_of_a_backbone_alone_says_what_is_missing(bundle: Bundle) -> None:
    text = model_card({**bundle.config.values(), "adapters": {}, "estimated": []})
    assert "Degradations of the estimator: none yet: run phase III" in text
    assert "--output OUT --blend none`" in text


def test_front_matter_is_what_a_hub_reads(bundle: Bundle) -> None:
    text = model_card(bundle.config.values())
    _, front_matter, _ = text.split("---\n", 2)
    facts = yaml.safe_load(front_matter)
    assert facts["license"] == "apache-2.0"
    assert "Licence" not in text
    assert facts["pipeline_tag"] == "image-to-image"


@pytest.mark.parametrize(("source", "place"), [("restormer", "swz30/Restormer"), ("promptir", "va1shn9v/PromptIR")])
def test_card_of_imported_weights_claims_no_licence(source: str, place: str, bundle: Bundle) -> None:
    facts = {**bundle.config.provenance, "pretrain": {"imported_from": source}}
    text = model_card({**bundle.config.values(), "degradations": [], "provenance": facts})
    _, front_matter, body = text.split("---\n", 2)
    assert yaml.safe_load(front_matter)["license"] == "other"
    (line,) = [line for line in body.splitlines() if line.startswith("- Licence")]
    assert f"https://github.com/{place} are under an Academic Public License" in line
    assert "apache" not in text.lower()


def test_card_of_a_backbone_without_segmentation_head_has_no_line_for_it(bundle: Bundle) -> None:
    text = model_card({**bundle.config.values(), "degradations": []})
    assert "segmentation head" not in text
    assert "Degradations of the estimator: rain" in text


def test_bundle_holds_its_card(bundle: Bundle) -> None:
    assert (bundle.path / "README.md").read_text() == model_card(bundle.config.values())
