"""The model card, made from the facts in a bundle's configuration."""

from collections.abc import Mapping
from typing import Any

_PUBLISHED_AT = {
    "restormer": "https://github.com/swz30/Restormer",
    "promptir": "https://github.com/va1shn9v/PromptIR",
}


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
    facts = [
        f"| {phase} | {', '.join(f'{name} {value}' for name, value in facts.items())} |"
        for phase, facts in config["provenance"].items()
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
            f"- sha256 of the backbone: `{config['backbone_sha256']}`",
            "",
            "| adapter | method | settings |",
            "|---|---|---|",
            *adapters,
            "",
            "| phase | where its weights come from |",
            "|---|---|",
            *facts,
            "",
        ]
    )


def _licence(source: str) -> str:
    place = _PUBLISHED_AT.get(source, source)
    return (
        f"that of the imported backbone, a checkpoint of `{source}`; weights published at {place} are under an "
        "Academic Public License, for non-commercial use only"
    )
