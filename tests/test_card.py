from dataclasses import asdict

import yaml

from abair_pl.bundle import Bundle
from abair_pl.card import model_card


def test_card_names_the_facts_of_the_bundle(bundle: Bundle) -> None:
    text = model_card(asdict(bundle.config))
    assert bundle.config.backbone_sha256 in text
    assert "preset `nano`" in text
    assert "Degradations of the segmentation head: rain, haze, noise, blur, low_light" in text
    assert "Degradations of the estimator: rain, haze, noise, blur, low_light" in text
    for name, made in bundle.config.adapters.items():
        assert f"| {name} | {made.rank} | {made.alpha} |" in text
    assert "| pretrain | steps 1 |" in text
    assert "| adapter/rain | steps 2 |" in text


def test_card_of_a_backbone_alone_says_what_is_missing(bundle: Bundle) -> None:
    text = model_card({**asdict(bundle.config), "adapters": {}, "estimated": []})
    assert "Degradations of the estimator: none yet: run phase III" in text


def test_front_matter_is_what_a_hub_reads(bundle: Bundle) -> None:
    _, front_matter, _ = model_card(asdict(bundle.config)).split("---\n", 2)
    facts = yaml.safe_load(front_matter)
    assert facts["license"] == "apache-2.0"
    assert facts["pipeline_tag"] == "image-to-image"


def test_bundle_holds_its_card(bundle: Bundle) -> None:
    assert (bundle.path / "README.md").read_text() == model_card(asdict(bundle.config))
