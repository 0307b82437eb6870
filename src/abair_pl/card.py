"""The model card, made from the facts in a bundle's configuration."""

from collections.abc import Mapping
from typing import Any


def model_card(config: Mapping[str, Any]) -> str:
    """The text of a bundle's ``README.md``.

    Args:
        config: The values of ``config.json``.
    """
    adapters = [f"| {name} | {made['rank']} | {made['alpha']} |" for name, made in config["adapters"].items()]
    facts = [
        f"| {phase} | {', '.join(f'{name} {value}' for name, value in facts.items())} |"
        for phase, facts in config["provenance"].items()
    ]
    estimated = ", ".join(config["estimated"]) or "none yet: run phase III"
    return "\n".join(
        [
            "---",
            "license: apache-2.0",
            "library_name: abair-pl",
            "pipeline_tag: image-to-image",
            "---",
            "",
            f"# ABAIR bundle, preset `{config['preset']}`",
            "",
            "Restores photographs with unknown damage: `abair-pl restore PHOTO --bundle THIS_DIRECTORY --output OUT`.",
            "",
            f"- Degradations of the segmentation head: {', '.join(config['degradations'])}",
            f"- Degradations of the estimator: {estimated}",
            f"- sha256 of the backbone: `{config['backbone_sha256']}`",
            "",
            "| adapter | rank | alpha |",
            "|---|---|---|",
            *adapters,
            "",
            "| phase | where its weights come from |",
            "|---|---|",
            *facts,
            "",
        ]
    )
