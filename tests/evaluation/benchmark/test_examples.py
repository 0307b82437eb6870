from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from abair_pl.evaluation.benchmark.examples import choose_examples, read_examples, restore_examples
from abair_pl.evaluation.benchmark.methods import BundleMethod, open_methods
from abair_pl.evaluation.benchmark.records import RecordStore
from abair_pl.evaluation.benchmark.run import Benchmark
from abair_pl.evaluation.benchmark.tasks import find_tasks
from abair_pl.evaluation.results import Record, Results
from abair_pl.evaluation.suite import Suite


def results(suite: Suite, gains: dict[str, float]) -> Results:
    records = [
        Record("denoising", "soft", image, 20.0, 0.4, 20.0 + gain, 0.8, {}, None, 0.0, 0.1)
        for image, gain in gains.items()
    ]
    return Results(suite, records, {"denoising": "some", "deraining": "none"})


def test_the_worst_the_median_and_the_best_by_gain(suite: Suite) -> None:
    found = choose_examples(results(suite, {"a": 3.0, "b": -1.0, "c": 9.0, "d": 2.0, "e": 4.0}))
    assert [(kind, record.image) for kind, record in found] == [("worst", "b"), ("median", "a"), ("best", "c")]


def test_the_last_method_counts_where_the_main_one_was_not_measured(suite: Suite) -> None:
    found = choose_examples(results(replace(suite, main="oracle"), {"a": 3.0, "b": -1.0}))
    assert [(record.method, record.image) for _, record in found] == [("soft", "b"), ("soft", "a")]


@pytest.mark.parametrize(("gains", "count"), [({}, 0), ({"a": 1.0}, 1), ({"a": 1.0, "b": 1.0}, 2)])
def test_no_image_is_shown_twice(suite: Suite, gains: dict[str, float], count: int) -> None:
    images = [record.image for _, record in choose_examples(results(suite, gains))]
    assert len(images) == len(set(images)) == count


def test_examples_are_restored_once(
    suite: Suite, bundle_path: Path, two_photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, _ = find_tasks(suite, None, two_photographs, allow_partial=False)
    methods, _ = open_methods(suite, {"main": bundle_path}, "cpu", 512, 64)
    benchmark, store = Benchmark(suite, tasks, methods, {}), RecordStore(tmp_path)
    benchmark.measure(benchmark.remaining(store), store)
    found = benchmark.results(store)
    for rank in range(3):
        restore_examples(benchmark, found, tmp_path, rank, 3)
    first = read_examples(benchmark, found, tmp_path)
    assert len(first) == 4, "two images of two tasks"
    monkeypatch.setattr(BundleMethod, "restore", None)
    restore_examples(benchmark, found, tmp_path)
    again = read_examples(benchmark, found, tmp_path)
    for one, two in zip(first, again, strict=True):
        assert (one.task, one.image, one.kind, one.psnr) == (two.task, two.image, two.kind, two.psnr)
        assert one.restored.keys() == set(suite.methods)
        assert all(torch.equal(one.restored[method], two.restored[method]) for method in suite.methods)
        assert one.psnr.keys() == {"input", *suite.methods}
        record = next(r for r in found.of(one.task, "soft") if r.image == one.image)
        assert one.psnr["soft"] == record.psnr
    folder = tmp_path / "examples" / "denoising" / first[0].image
    assert {"input.png", "clean.png"} < {path.name for path in folder.iterdir()}
    assert Image.open(folder / "clean.png").size == Image.open(two_photographs / f"{first[0].image}.png").size
