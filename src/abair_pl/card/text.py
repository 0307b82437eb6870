"""The model card, made from the facts in a bundle's configuration."""

from collections.abc import Mapping
from typing import Any

from abair_pl.card.facts import by_source, number
from abair_pl.card.figures import cell, figure_lines
from abair_pl.card.limits import limits

_PUBLISHED_AT = {
    "restormer": "https://github.com/swz30/Restormer",
    "promptir": "https://github.com/va1shn9v/PromptIR",
}
_TRAINING = ("steps", "samples_seen", "seconds", "hardware")
_DATA = ("data_sources", "data_layouts", "data_licences")


def model_card(config: Mapping[str, Any]) -> str:
    """The text of a bundle's ``README.md``.

    Imported weights keep their licence, which this project cannot know for certain: it is ``other``, and the source is
    named.

    Args:
        config: The values of ``config.json``.
    """
    adapters = [
        f"| {name} | {made['method']} | {', '.join(f'{key} {made[key]}' for key in made if key != 'method')} |"
        for name, made in config["adapters"].items()
    ]
    degradations = ", ".join(config["degradations"])
    estimated = ", ".join(config["estimated"]) or "none yet: run phase III"
    command = "abair-pl restore PHOTO --bundle THIS_DIRECTORY --output OUT"
    command += "" if config["estimated"] else " --blend none"
    source = config["provenance"].get("pretrain", {}).get("imported_from")
    return "\n".join(
        [
            "---",
            f"license: {'other' if source else 'apache-2.0'}",
            "library_name: abair-pl",
            "pipeline_tag: image-to-image",
            "---",
            "",
            f"# ABAIR bundle, preset `{config['preset']}`",
            "",
            f"Restores photographs with unknown damage: `{command}`.",
            "",
            *([f"- Licence: {_licence(source)}"] if source else []),
            *([f"- Degradations of the segmentation head: {degradations}"] if degradations else []),
            f"- Degradations of the estimator: {estimated}",
            *_chosen(config),
            f"- sha256 of the backbone: `{config['backbone_sha256']}`",
            "",
            "| adapter | method | settings |",
            "|---|---|---|",
            *adapters,
            "",
            *figure_lines(config),
            *_training(config["provenance"]),
            *_data(config["provenance"]),
            "## Limits",
            "",
            *(f"- {sentence}" for sentence in limits(config)),
            "",
        ]
    )


def _chosen(config: Mapping[str, Any]) -> list[str]:
    """How the estimator is read where that is not the paper's way."""
    power, labels = config["calibration"]["sharpness"], ["clean", *config["estimated"]]
    biases = zip(labels, config["calibration"].get("bias", []), strict=False)
    added = ", ".join(f"{label} {bias:+g}" for label, bias in biases if bias)
    soft = f"- Soft weights: the estimator's probabilities to the power {power:g}; the paper's are as they are"
    biased = f"- Added to the estimator's logits: {added}; the paper adds nothing"
    return [*([soft] if power != 1 else []), *([biased] if added else [])]


def _training(provenance: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How long each phase took and on what, and what else is known of it."""
    took = [
        f"| {phase} | {' | '.join(cell(facts.get(name, '-')) for name in _TRAINING)} | {_others(facts)} |"
        for phase, facts in provenance.items()
    ]
    seconds = sum(number(facts.get("seconds")) for facts in provenance.values())
    total = [f"{seconds / 3600.0:.1f} hours of all phases together.", ""] if seconds else []
    header = "| phase | steps | images seen | seconds | hardware | where its weights come from |"
    return ["## Training", "", header, "|---|---|---|---|---|---|", *took, "", *total]


def _others(facts: Mapping[str, Any]) -> str:
    return cell(", ".join(f"{name} {value}" for name, value in facts.items() if name not in (*_TRAINING, *_DATA)))


def _data(provenance: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What each phase was trained on, where that is known."""
    used: dict[tuple[str, str, str], dict[str, str]] = {}
    for phase, facts in provenance.items():
        shares, layouts, licences = (by_source(facts, name) for name in _DATA)
        for source, share in shares.items():
            row = (source, str(layouts.get(source, "not recorded")), str(licences.get(source, "not recorded")))
            used.setdefault(row, {})[phase] = f"{number(share):.0%}"
    if not used:
        return []
    rows = [f"| {' | '.join(map(cell, row))} | {cell(_shares(of, len(provenance)))} |" for row, of in used.items()]
    return ["## Data", "", "| source | kind | licence | share of what a phase saw |", "|---|---|---|---|", *rows, ""]


def _shares(of: Mapping[str, str], phases: int) -> str:
    """The shares by phase, or the one of all phases."""
    if 1 < phases == len(of) and len(set(of.values())) == 1:
        return f"{next(iter(of.values()))} in every phase"
    return ", ".join(f"{phase} {share}" for phase, share in of.items())


def _licence(source: str) -> str:
    place = _PUBLISHED_AT.get(source, source)
    return (
        f"that of the imported backbone, a checkpoint of `{source}`; weights published at {place} are under an "
        "Academic Public License, for non-commercial use only"
    )
