"""``abair-pl bundle figures``: what benchmarks have found of a bundle, for its model card."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from abair_pl.atomic import locked
from abair_pl.bundle import Bundle
from abair_pl.bundle_config import write_config
from abair_pl.bundle_files import reason
from abair_pl.bundle_repair import settled
from abair_pl.card.figures import are_figures, weights_digest
from abair_pl.errors import InputError

_MAIN = "bundle main"
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def put_figures(bundle: Path, /, results: list[Path]) -> None:
    """Put the means of benchmarks into a bundle; its model card shows them for as long as its weights stay the same.

    Args:
        bundle: The bundle, which the benchmarks were given as --bundle.
        results: Their files results.json, in the order of the card; those that were there before are replaced.

    Raises:
        InputError: A file is no benchmark's, or of a bundle with another backbone or other adapters.
        BundleError: There is no bundle, or it is damaged.
    """
    Bundle.open(bundle)  # before a folder is made for the lock
    with locked(bundle) as held:
        current = settled(bundle, held)
        backbone = f"backbone {current.backbone_sha256[:12]}, adapters {', '.join(current.adapters)};"
        suites = dict(_suite(file, backbone) for file in results)
        figures = {"of": weights_digest(current.values()), "suites": suites}
        write_config(bundle, replace(current, figures=figures))
    print(f"{bundle}: figures of {', '.join(suites)}")


def _suite(file: Path, backbone: str) -> tuple[str, dict[str, dict[str, list[float]]]]:
    """The title of a benchmark, and PSNR and SSIM by task and method, those of the degraded images first."""
    try:
        values = json.loads(file.read_bytes())
        title, measured = str(values["suite"]), str(values["facts"].get(_MAIN))
        titles = {name: str(method["title"]) for name, method in values["methods"].items()}
        measured_on = [task for task in values["tasks"].values() if task["methods"]]
        tasks = {f"{task['title']}, {task['dataset']}": _row(task, titles) for task in measured_on}
    except _DAMAGE as error:
        message = f"{file} cannot be read ({reason(error)}); expected the results.json of abair-pl benchmark"
        raise InputError(message) from error
    if not are_figures({"of": "", "suites": {title: tasks}}):
        message = f"{file} has other values than PSNR and SSIM; expected the results.json of abair-pl benchmark"
        raise InputError(message)
    if backbone not in measured:
        message = f"{file} is of {reason(measured)[:120]}; expected {backbone} measure this bundle with --bundle"
        raise InputError(message)
    return title, tasks


def _row(task: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, list[float]]:
    scores = {"input": task["input"], **{titles[name]: score for name, score in task["methods"].items()}}
    return {name: [score["psnr"], score["ssim"]] for name, score in scores.items()}
