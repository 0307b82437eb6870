import json
from pathlib import Path

import pytest

from abair_pl.evaluation.ablation.table import Spread, ablation_markdown, ablation_values, spreads
from abair_pl.evaluation.ablation.variants import Ablation, Variant
from abair_pl.evaluation.published import published_table
from abair_pl.evaluation.results import Record, Results
from abair_pl.evaluation.suite import Method, Suite, Task

VARIANTS = {"a": Variant("first", published="LoRA rank 4"), "b": Variant("second", "oracle")}
ABLATION = Ablation("Two variants", Path("suite.yaml"), VARIANTS, "table7", Path())


def measured(*psnr: float | None, tasks: tuple[str, ...] = ("deraining", "denoising")) -> Results:
    """Results of two images a task: of variant a then b, each in all tasks; what is None was not measured."""
    known = {
        "deraining": Task("Deraining", "Rain100L", "rain100l", "Rain100L", protocol="y"),
        "denoising": Task("Denoising", "BSD68", "cbsd68", "CBSD68"),
        "dehazing": Task("Dehazing", "SOTS", "sots_outdoor", "SOTS"),
    }
    methods = {name: Method(variant.title, variant.blend, name) for name, variant in VARIANTS.items()}
    suite = Suite("suite", {name: known[name] for name in tasks}, methods)
    cells = [(method, task) for method in methods for task in ("deraining", "denoising")]
    records = [
        Record(task, method, str(image), 20.0, 0.5, value + image - 0.5, value / 100.0, {}, None, 1.0, 0.1)
        for (method, task), value in zip(cells, psnr, strict=True)
        if value is not None
        for image in (0, 1)
    ]
    sources = {"deraining": "2 photographs with rain", "denoising": "BSD68 (2 images)"}
    missing = {"dehazing": "no folder SOTS"} if "dehazing" in tasks else {}
    return Results(suite, records, sources, frozenset({"deraining"}), missing)


THREE_SEEDS = [
    measured(30.0, 20.0, 31.0, 25.0),
    measured(32.0, 22.0, 31.0, 26.0),
    measured(34.0, 24.0, 31.0, 27.0),
]


def test_spread_of_a_sample() -> None:
    spread = Spread((2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0))
    assert spread.mean == 5.0
    assert spread.deviation == pytest.approx((32.0 / 7.0) ** 0.5)
    assert spread.text(2) == "5.00 ± 2.14"


def test_a_single_seed_has_no_deviation() -> None:
    assert Spread((5.0,)).deviation is None
    assert Spread((5.0,)).text(2) == "5.00"


def test_spreads_are_over_seeds_and_not_over_images() -> None:
    found = spreads(THREE_SEEDS, "a")
    assert found["deraining"]["psnr"].values == (30.0, 32.0, 34.0)
    assert found["denoising"]["ssim"].values == pytest.approx((0.2, 0.22, 0.24))
    assert found["average"]["psnr"].values == (25.0, 27.0, 29.0)
    assert (found["average"]["psnr"].mean, found["average"]["psnr"].deviation) == (27.0, 2.0)


def test_what_one_seed_lacks_has_no_spread() -> None:
    results = [THREE_SEEDS[0], measured(None, 22.0, 31.0, 26.0)]
    assert spreads(results, "a").keys() == {"denoising"}
    assert spreads(results, "b").keys() == {"deraining", "denoising", "average"}
    lines = ablation_markdown(ABLATION, results, [0, 1], "Small.").splitlines()
    assert "| first | — | 21.00 ± 1.41 | — | — |" in lines


def test_table_has_means_and_deviations_and_the_published_rows_below() -> None:
    lines = ablation_markdown(ABLATION, THREE_SEEDS, [0, 1, 5], "Preset tiny.").splitlines()
    assert lines[0] == "## Two variants"
    assert lines[2:8] == [
        "|  | Deraining† | Denoising | PSNR | SSIM |",
        "| --- | --- | --- | --- | --- |",
        "| first | 32.00 ± 2.00 | 22.00 ± 2.00 | 27.00 ± 2.00 | 0.2700 ± 0.0200 |",
        "| second | 31.00 ± 0.00 | 26.00 ± 1.00 | 28.50 ± 0.50 | 0.2850 ± 0.0050 |",
        "| **published: the paper's data, the paper's sizes** |  |  |  |  |",
        "| LoRA rank 4 | 37.79 | 31.38 | — | — |",
    ]
    about, notes = lines[9], lines[11:]
    assert "mean ± standard deviation over 3 seeds (0, 1, 5). Preset tiny." in about
    assert notes == [
        "- Deraining†: 2 photographs with rain, protocol y",
        "- Denoising: BSD68 (2 images), protocol rgb",
        "- † other images than the paper's; the published rows are of its data, size and training",
    ]


def test_published_averages_are_shown_over_the_same_tasks_alone() -> None:
    published = published_table("table6")
    row = next(row for row in published.rows if row.method == "+ CutMix")
    variants = {"a": Variant("first", published=row.method), "b": Variant("second")}
    ablation = Ablation("Table 6", Path("suite.yaml"), variants, "table6", Path())
    assert row.average is not None
    average = f"{row.average.psnr:.2f} | {row.average.ssim:.3f}"
    assert average not in ablation_markdown(ablation, THREE_SEEDS, [0, 1, 2], "Small.")
    tasks = {name: Task(name, dataset, "", "") for name, dataset in published.datasets.items()}
    whole = Results(Suite("five", tasks, {"a": Method("first"), "b": Method("second")}), [], {})
    assert f"| + CutMix | — | — | — | — | — | {average} |" in ablation_markdown(ablation, [whole], [0], "")


def test_a_task_that_was_left_out_is_in_the_table_with_its_reason() -> None:
    values = (30.0, 20.0, 31.0, 25.0)
    found = measured(*values, tasks=("deraining", "dehazing", "denoising"))
    lines = ablation_markdown(ABLATION, [found], [4], "Small.").splitlines()
    assert "|  | Deraining† | Dehazing | Denoising | PSNR | SSIM |" in lines
    assert "| second | 31.00 | — | 25.00 | — | — |" in lines
    assert "- skipped: dehazing: no folder SOTS" in lines
    assert any("over seed 4 alone. Small." in line for line in lines)


def test_values_are_what_the_table_is_made_of() -> None:
    found = json.loads(json.dumps(ablation_values(ABLATION, THREE_SEEDS, [0, 1, 2], "Small.")))
    assert (found["title"], found["seeds"], found["scale"]) == ("Two variants", [0, 1, 2], "Small.")
    assert found["variants"]["b"]["denoising"]["psnr"] == {"values": [25.0, 26.0, 27.0], "mean": 26.0, "deviation": 1.0}
    assert found["sources"]["denoising"] == "BSD68 (2 images)"
    assert list(found["variants"]) == ["a", "b"]
