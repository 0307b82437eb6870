import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from abair_pl.evaluation.report.files import results_csv, results_json
from abair_pl.evaluation.results import Results


def read(results: Results) -> Any:
    return json.loads(results_json(results))


def rows(results: Results) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(results_csv(results))))


def test_json_has_the_means(results: Results) -> None:
    found = read(results)
    score, before = results.score("denoising", "soft"), results.input_score("denoising")
    assert score is not None
    assert before is not None
    assert found["tasks"]["denoising"]["methods"]["soft"] == {"psnr": score.psnr, "ssim": score.ssim, "count": 5}
    assert found["tasks"]["denoising"]["input"] == {"psnr": before.psnr, "ssim": before.ssim, "count": 5}


def test_json_says_what_was_measured_and_how(results: Results) -> None:
    found = read(results)
    assert found["suite"] == "Five & more <degradations>"
    assert found["published"] == "table1"
    assert found["skipped"] == {"dehazing": "there is no folder SOTS in --data"}
    assert found["facts"]["bundle main"].startswith("tiny")
    assert found["methods"]["soft"]["parameters"] == 2_512_000
    assert found["methods"]["oracle"]["blend"] == "oracle"
    rain = found["tasks"]["deraining"]
    assert rain["stand_in"] is True
    assert rain["measured_on"] == "5 photographs, deraining added"
    assert rain["protocol"]["channel"] == "BT.601 luma"


def test_json_has_null_where_nothing_was_measured(results: Results) -> None:
    found = read(results)
    assert found["tasks"]["dehazing"] | {"title": "", "dataset": ""} == {
        "title": "",
        "dataset": "",
        "measured_on": None,
        "stand_in": False,
        "protocol": None,
        "input": None,
        "methods": {},
    }
    assert found["methods"]["soft"]["average"] is None
    assert found["input_average"] is None
    assert len(found["images"]) == len(results.records)
    assert "seconds" not in found["images"][0]
    assert found["images"][0]["psnr"] == results.records[0].psnr


def test_json_has_averages_where_all_was_measured(results: Results) -> None:
    tasks = {name: task for name, task in results.suite.tasks.items() if name != "dehazing"}
    found = read(replace(results, suite=replace(results.suite, tasks=tasks)))
    psnrs = [task["methods"]["soft"]["psnr"] for task in found["tasks"].values()]
    assert found["methods"]["soft"]["average"]["psnr"] == pytest.approx(sum(psnrs) / 4)
    assert found["input_average"]["count"] == 4


def test_csv_has_a_row_for_each_record(results: Results) -> None:
    found = rows(results)
    assert len(found) == len(results.records) == 4 * 3 * 5
    for row, record in zip(found, results.records, strict=True):
        assert (row["task"], row["method"], row["image"]) == (record.task, record.method, record.image)
        assert float(row["psnr"]) == record.psnr
        assert float(row["ssim_input"]) == record.ssim_input
        assert row["unknown"] == str(record.unknown)
        assert float(row["weight_noise"]) == 0.5


def test_csv_cells_are_empty_where_there_is_no_value(results: Results) -> None:
    first, *rest = results.records
    changed = [replace(first, weights={"snow": 1.0}, unknown=None), *rest]
    found = rows(replace(results, records=changed))
    assert (found[0]["weight_snow"], found[0]["weight_rain"], found[0]["unknown"]) == ("1.0", "", "")
    assert (found[1]["weight_snow"], found[1]["weight_rain"]) == ("", "0.25")


def test_time_does_not_show(results: Results) -> None:
    slower = replace(results, records=[replace(record, seconds=record.seconds + 1.0) for record in results.records])
    assert results_json(slower) == results_json(results)
    assert results_csv(slower) == results_csv(results)
