"""Results as JSON and CSV, without what differs from run to run."""

import csv
import io
import json
from dataclasses import asdict

from abair_pl.evaluation.results import Record, Results
from abair_pl.evaluation.suite import Method

_VALUES = ("psnr_input", "ssim_input", "psnr", "ssim")


def results_json(results: Results) -> str:
    """Means by task and method, all that is known of how they came about, and each image."""
    suite = results.suite
    tasks = {
        name: {
            "title": task.title,
            "dataset": task.dataset,
            "measured_on": results.sources.get(name),
            "stand_in": name in results.stand_ins,
            "protocol": results.protocols.get(name),
            "input": (score := results.input_score(name)) and asdict(score),
            "methods": {
                method: asdict(score) for method in suite.methods if (score := results.score(name, method)) is not None
            },
        }
        for name, task in suite.tasks.items()
    }
    methods = {
        name: {
            "title": method.title,
            **_restorer(method),
            "parameters": results.parameters.get(name),
            "average": (score := results.average(name)) and asdict(score),
        }
        for name, method in suite.methods.items()
    }
    average = results.input_average()
    values = {
        "suite": suite.title,
        "published": suite.published,
        "seed": suite.seed,
        "tasks": tasks,
        "input_average": average and asdict(average),
        "methods": methods,
        "images": [_values(record) for record in results.records],
        "skipped": dict(results.skipped),
        "facts": dict(results.facts),
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _restorer(method: Method) -> dict[str, str]:
    return {"classical": method.classical} if method.classical else {"blend": method.blend, "bundle": method.bundle}


def _values(record: Record) -> dict[str, object]:
    values = asdict(record)
    del values["seconds"]
    return values


def results_csv(results: Results) -> str:
    """A row for each image and method; a cell is empty where a bundle has no such adapter."""
    adapters = list(dict.fromkeys(name for record in results.records for name in record.weights))
    header = ["task", "method", "image", *_VALUES, "unknown", "megapixels", *(f"weight_{name}" for name in adapters)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(_cells(record, adapters) for record in results.records)
    return stream.getvalue()


def _cells(record: Record, adapters: list[str]) -> list[object]:
    names = (record.task, record.method, record.image)
    values = (getattr(record, name) for name in _VALUES)
    return [*names, *values, record.unknown, record.megapixels, *(record.weights.get(name) for name in adapters)]
