"""What a bundle cannot do, in sentences that follow from the facts about it."""

from collections.abc import Collection, Mapping
from typing import Any

from abair_pl.card.facts import by_source, number

_LARGER = {"tiny": "small", "small": "paper"}


def limits(config: Mapping[str, Any]) -> list[str]:
    """The sentences of a model card.

    Args:
        config: The values of ``config.json``.
    """
    phases = config["provenance"].values()
    known = ", ".join(config["adapters"] or config["degradations"])
    found = [f"Damage of other kinds than {known} may stay as it is, or become worse."] if known else []
    if not config["estimated"]:
        found.append("It does not find out by itself how a photograph is damaged: there is no estimator.")
    elif config["calibration"]["threshold"] is None:
        found.append("It never says that damage is unlike any that it knows: its estimator has no threshold for that.")
    found += _of_training(phases)
    if config["preset"] in _LARGER:
        found.append(f"The network is small; preset {_LARGER[config['preset']]} has room to learn more.")
    if any("rounded_to" in facts for facts in phases):
        found.append("Weights are rounded to float16.")
    found.append("What a photograph has lost is made up: the result is plausible, and no evidence of what was there.")
    return found


def _of_training(phases: Collection[Mapping[str, Any]]) -> list[str]:
    found = []
    layouts = [by_source(facts, "data_layouts").get(source) for facts in phases for source in _sources(facts)]
    if layouts and set(layouts) == {"clean"}:
        found.append("It was trained on synthetic damage of clean photographs alone, and has seen no real pair.")
    largest = max((number(facts.get("patch_px")) for facts in phases), default=0.0)
    if largest:
        found.append(f"It was trained on crops of at most {largest:.0f} px, and has seen nothing that is wider.")
    return found


def _sources(facts: Mapping[str, Any]) -> Collection[str]:
    """Those of a phase; one that nobody knows where none is recorded."""
    return by_source(facts, "data_sources") or ("",)
