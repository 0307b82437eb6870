"""What benchmarks have found of a bundle, as its configuration holds it and its model card shows it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_RESTORING = ("backbone_sha256", "adapter_files", "estimated", "estimator_sha256", "calibration")


def weights_digest(config: Mapping[str, Any]) -> str:
    """A digest of all in a bundle that decides what it restores.

    Args:
        config: The values of ``config.json``.
    """
    return hashlib.sha256(json.dumps([config[name] for name in _RESTORING], sort_keys=True).encode()).hexdigest()


def are_figures(value: object) -> bool:
    """Whether a value of ``config.json`` has the form of figures.

    That is nothing, or ``{"of": <weights_digest>, "suites": {title: {task: {method: [PSNR in dB, SSIM]}}}}``.
    """
    if not isinstance(value, dict) or not value:
        return value == {}
    if value.keys() != {"of", "suites"} or not isinstance(value["of"], str) or not isinstance(value["suites"], dict):
        return False
    return all(isinstance(tasks, dict) and all(map(_is_row, tasks.values())) for tasks in value["suites"].values())


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and all(map(_is_score, row.values()))


def _is_score(score: object) -> bool:
    return isinstance(score, list) and len(score) == 2 and all(type(value) in (int, float) for value in score)


def figure_lines(config: Mapping[str, Any]) -> list[str]:
    """The tables of a model card, a column for each method; none where figures are of other weights than those now.

    Args:
        config: The values of ``config.json``.
    """
    figures = config.get("figures", {})
    if not figures or figures["of"] != weights_digest(config):
        return []
    lines = ["## Figures", "", "PSNR in dB / SSIM, means over images; the best of a row is bold.", ""]
    for title, tasks in figures["suites"].items():
        methods = list(dict.fromkeys(method for row in tasks.values() for method in row))
        lines += [f"| {cell(title)} | {' | '.join(map(cell, methods))} |", "|---" * (len(methods) + 1) + "|"]
        lines += [_line(task, [row.get(method) for method in methods]) for task, row in tasks.items()]
        lines.append("")
    return lines


def _line(task: str, scores: list[list[float] | None]) -> str:
    best = max((score[0] for score in scores if score is not None), default=0.0)
    cells = ["-" if score is None else _cell(score, score[0] == best) for score in scores]
    return f"| {cell(task)} | {' | '.join(cells)} |"


def _cell(score: list[float], best: bool) -> str:
    text = f"{score[0]:.2f} / {score[1]:.3f}"
    return f"**{text}**" if best else text


def cell(text: object) -> str:
    """A text as it can stand in a cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", r"\|")
