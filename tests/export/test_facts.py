from abair_pl import __version__
from abair_pl.bundle import Bundle
from abair_pl.card.figures import weights_digest
from abair_pl.export.facts import export_facts
from abair_pl.export.restorer import exported_restorer


def test_facts_of_weights_as_an_input(bundle: Bundle) -> None:
    facts = export_facts(bundle, exported_restorer(bundle, None), None)
    assert facts["weights"] == "rain,haze,noise,blur,low_light"
    assert facts["merged"] == ""
    assert (facts["scale"], facts["input_channels"], facts["output_channels"]) == ("1", "3", "3")
    assert (facts["multiple_px"], facts["minimum_px"]) == ("16", "17")
    assert "multiple of 16 px" in facts["padding"]
    assert facts["bundle_sha256"] == weights_digest(bundle.config.values())
    assert (facts["preset"], facts["abair_pl"]) == ("nano", __version__)


def test_facts_of_a_mixture_that_is_merged_in(bundle: Bundle) -> None:
    facts = export_facts(bundle, exported_restorer(bundle, "rain=0.7"), "rain=0.7")
    assert (facts["weights"], facts["merged"]) == ("", "rain=0.7")
