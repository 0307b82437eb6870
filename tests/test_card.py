import pytest
import yaml

from abair_pl.bundle import Bundle
from abair_pl.card import model_card


def test_card_names_the_facts_of_the_bundle(bundle: Bundle) -> None:
    text = model_card(bundle.config.values())
    assert bundle.config.backbone_sha256 in text
    assert "preset `nano`" in text
    assert "Degradations of the segmentation head: rain, haze, noise, blur, low_light" in text
    assert "Degradations of the estimator: rain, haze, noise, blur, low_light" in text
    for name, made in bundle.config.adapters.items():
        assert f"| {name} | lora | rank {made.rank}, alpha 4.0 |" in text
    assert "--output OUT`" in text
    assert "| pretrain | steps 1 |" in text
    assert "| adapter/rain | steps 2 |" in text


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
