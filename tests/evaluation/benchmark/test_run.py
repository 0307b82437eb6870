import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from abair_pl.errors import AbairError, ImageError, InputError
from abair_pl.evaluation.benchmark.methods import BundleMethod, open_methods
from abair_pl.evaluation.benchmark.records import RecordStore
from abair_pl.evaluation.benchmark.run import Benchmark
from abair_pl.evaluation.benchmark.tasks import find_tasks
from abair_pl.evaluation.evaluate import evaluate
from abair_pl.evaluation.suite import Method, Suite

Prepare = Callable[..., Benchmark]


def run(benchmark: Benchmark, store: RecordStore) -> None:
    benchmark.measure(benchmark.remaining(store), store)


@pytest.fixture
def prepare(bundle_path: Path, two_photographs: Path) -> Prepare:
    """The suite, ready to be measured on the toy bundle and two photographs."""

    def ready(suite: Suite, bundle: Path = bundle_path) -> Benchmark:
        tasks, missing_tasks = find_tasks(suite, None, two_photographs, allow_partial=False)
        methods, missing_methods = open_methods(suite, {"main": bundle}, "cpu", 512, 64)
        return Benchmark(suite, tasks, methods, {**missing_tasks, **missing_methods})

    return ready


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts restorations by their blend."""
    calls: list[str] = []
    original = BundleMethod.restore

    def counted(self: BundleMethod, *arguments: object) -> object:
        calls.append(self.method.blend)
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(BundleMethod, "restore", counted)
    return calls


def test_every_cell_has_a_record_of_every_image(prepare: Prepare, suite: Suite, tmp_path: Path) -> None:
    benchmark, store = prepare(suite), RecordStore(tmp_path)
    run(benchmark, store)
    results = benchmark.results(store)
    found = [(record.task, record.method, record.image) for record in results.records]
    images = ("photo-1", "photo-6")
    assert sorted(found) == sorted(
        (task, method, image) for task in suite.tasks for method in suite.methods for image in images
    )
    assert results.stand_ins == set(suite.tasks)
    assert results.protocols["deraining"]["channel"] == "BT.601 luma"
    assert not results.skipped
    assert results.parameters["soft"] > results.parameters["none"]


def test_numbers_are_those_of_evaluate(
    prepare: Prepare, suite: Suite, two_photographs: Path, bundle_path: Path, tmp_path: Path
) -> None:
    benchmark, store = prepare(suite), RecordStore(tmp_path)
    benchmark.measure(benchmark.remaining(store), store)
    options = {"clean": two_photographs, "degrade": ["noise:sigma=25"], "blend": ["none", "soft", "oracle"]}
    evaluate(tmp_path / "evaluated", bundle_path, device="cpu", **options)  # type: ignore[arg-type]
    rows = json.loads((tmp_path / "evaluated" / "results.json").read_text())["images"]
    expected = {(row["blend"], row["image"]): [row[key] for key in ("psnr_input", "psnr", "ssim")] for row in rows}
    for record in benchmark.results(store).records:
        if record.task == "denoising":
            assert [record.psnr_input, record.psnr, record.ssim] == expected[record.method, record.image]


def test_what_was_measured_is_not_measured_again(
    prepare: Prepare, suite: Suite, restored: list[str], tmp_path: Path
) -> None:
    store = RecordStore(tmp_path)
    run(prepare(suite), store)
    assert len(restored) == 2 * 3 * 2
    first = prepare(suite).results(store)
    restored.clear()
    run(prepare(suite), store)
    assert not restored
    assert prepare(suite).results(store) == first
    lines = store.file.read_text().splitlines(keepends=True)
    store.file.write_text("".join(lines[:7]) + lines[7][:40])  # killed while it wrote the eighth
    with pytest.raises(AbairError, match="5 of 12 records are missing"):
        prepare(suite).results(store)
    run(prepare(suite), store)
    assert len(restored) == 5
    again = prepare(suite).results(store)
    assert [replace(record, seconds=0.0) for record in again.records] == [
        replace(record, seconds=0.0) for record in first.records
    ]


def test_a_method_that_is_added_is_all_that_is_measured(
    prepare: Prepare, suite: Suite, restored: list[str], tmp_path: Path
) -> None:
    store = RecordStore(tmp_path)
    run(prepare(suite), store)
    restored.clear()
    run(prepare(replace(suite, methods={**suite.methods, "sum": Method("sum", "sum")})), store)
    assert restored == ["sum"] * 4


def test_processes_share_the_images(prepare: Prepare, suite: Suite, restored: list[str], tmp_path: Path) -> None:
    together = RecordStore(tmp_path / "together")
    run(prepare(suite), together)
    restored.clear()
    benchmark = prepare(suite)
    jobs = benchmark.remaining(RecordStore(tmp_path / "shared"))
    for rank in range(2):
        benchmark.measure(jobs[rank::2], RecordStore(tmp_path / "shared", rank))
    assert len(restored) == 12, "each once"
    assert [len(file.read_text().splitlines()) for file in (tmp_path / "shared" / "records").iterdir()] == [6, 6]
    one, two = (prepare(suite).results(RecordStore(folder)) for folder in (tmp_path / "together", tmp_path / "shared"))
    for task in suite.tasks:
        for method in suite.methods:
            assert one.score(task, method) == two.score(task, method)


def test_classical_methods_are_measured_on_their_tasks_and_timed(
    prepare: Prepare, suite: Suite, tmp_path: Path
) -> None:
    classical = {
        "denoise": Method("Non-local means", classical="non_local_means"),
        "derain": Method("Median", classical="median"),
        "deblur": Method("Richardson-Lucy", classical="richardson_lucy"),
    }
    benchmark, store = prepare(replace(suite, methods={**suite.methods, **classical})), RecordStore(tmp_path)
    run(benchmark, store)
    results = benchmark.results(store)
    assert len(results.of("denoising", "denoise")) == len(results.of("deraining", "derain")) == 2
    assert not results.of("denoising", "derain")
    assert not results.of("deraining", "denoise")
    assert not results.skipped
    gained = results.score("denoising", "denoise"), results.input_score("denoising")
    assert gained[0] is not None
    assert gained[1] is not None
    assert gained[0].psnr > gained[1].psnr + 3.0
    assert results.seconds_per_megapixel("denoise") > 0
    assert results.parameters.keys() == set(suite.methods)
    assert "non_local_means" not in results.facts["run"]
    assert results.facts["classical median"].startswith("OpenCV's median")


def test_a_changed_bundle_is_measured_anew(
    prepare: Prepare, suite: Suite, bundle_copy: Path, restored: list[str], tmp_path: Path
) -> None:
    store = RecordStore(tmp_path / "out")
    run(prepare(suite, bundle_copy), store)
    restored.clear()
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "calibration": {"temperature": 2.0, "threshold": None}}))
    run(prepare(suite, bundle_copy), store)
    assert len(restored) == 12


def test_nothing_to_measure_is_refused(
    prepare: Prepare, suite: Suite, backbone_path: Path, two_photographs: Path
) -> None:
    soft = replace(suite, methods={"soft": Method("SW")})
    with pytest.raises(InputError, match=r"there is nothing to measure .*run phase II,"):
        prepare(soft, backbone_path)
    clahe = replace(suite, methods={"clahe": Method("CLAHE", classical="clahe")}, main="")
    tasks, _ = find_tasks(clahe, None, two_photographs, allow_partial=False)
    methods, _ = open_methods(clahe, {}, "cpu", 512, 64)
    with pytest.raises(InputError, match=r"there is nothing to measure \(no method is for these tasks\)"):
        Benchmark(clahe, tasks, methods, {})


def test_an_image_that_cannot_be_measured_is_named(
    prepare: Prepare, suite: Suite, two_photographs: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (9, 9)).save(two_photographs / "small.png")
    with pytest.raises(ImageError, match=r"task denoising, image .*small.png: image of 9 x 9 pixels; SSIM needs 11"):
        run(prepare(suite), RecordStore(tmp_path / "out"))
    (two_photographs / "small.png").write_bytes((two_photographs / "photo-1.png").read_bytes()[:200])
    with pytest.raises(ImageError, match=r"small.png"):
        run(prepare(suite), RecordStore(tmp_path / "out"))


def test_cells_that_cannot_be_measured_are_left_out_and_told(
    prepare: Prepare, suite: Suite, backbone_path: Path, tmp_path: Path
) -> None:
    benchmark, store = prepare(suite, backbone_path), RecordStore(tmp_path)
    assert benchmark.skipped.keys() == {f"{method} on {task}" for method in ("soft", "oracle") for task in suite.tasks}
    run(benchmark, store)
    results = benchmark.results(store)
    assert {record.method for record in results.records} == {"none"}
    assert results.skipped == benchmark.skipped
