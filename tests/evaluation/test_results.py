import math
from dataclasses import replace

import pytest

from abair_pl.evaluation.results import Record, Results, Score
from abair_pl.evaluation.suite import Suite


def made(task: str, method: str, image: str, psnr: float) -> Record:
    return Record(task, method, image, psnr - 5.0, 0.4, psnr, 0.8, {}, None, 0.0, 0.1)


@pytest.fixture
def results(suite: Suite) -> Results:
    """Both tasks by ``soft``, one by ``none``."""
    records = [made("denoising", "soft", "a", 30.0), made("denoising", "soft", "b", 20.0)]
    records += [made("deraining", "soft", "a", 35.0), made("deraining", "none", "a", 31.0)]
    return Results(suite, records, {"denoising": "two", "deraining": "one"})


def test_means_are_over_images_and_averages_over_tasks(results: Results) -> None:
    assert results.score("denoising", "soft") == Score(25.0, 0.8, 2)
    assert results.average("soft") == Score(30.0, 0.8, 2), "and not of all three images"
    assert results.input_score("denoising") == Score(20.0, 0.4, 2)
    assert results.input_score("deraining") == Score(26.0, 0.4, 1)
    assert results.input_average() == Score(23.0, 0.4, 2)
    assert replace(results, records=results.records[:2]).input_average() is None


def test_seconds_are_those_of_all_pixels(results: Results) -> None:
    slow = [replace(record, seconds=2.0, megapixels=0.5) for record in results.records[:2]]
    timed = replace(results, records=[*slow, replace(results.records[2], seconds=1.0, megapixels=1.5)])
    assert timed.seconds_per_megapixel("soft") == pytest.approx(5.0 / 2.5)
    assert math.isnan(timed.seconds_per_megapixel("oracle"))


def test_what_was_not_measured_has_no_score(results: Results) -> None:
    assert results.score("denoising", "none") is None
    assert results.average("none") is None, "one of two tasks is no average of the table"
    assert results.average("oracle") is None
    assert replace(results, records=[]).input_score("denoising") is None
