"""The three phases and a test, tracked offline by the shipped fragment: what W&B's files hold is what is promised."""

import csv
import json
import struct
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from wandb.proto import wandb_internal_pb2

from abair_pl.bundle import Bundle
from abair_pl.cli import main
from abair_pl.data.manifest import file_sha256

CONFIGS = Path(__file__).parents[1] / "configs"
PHASES = ["pretrain", "adapter-rain", "adapter-noise", "estimator"]
NAMES = ("rain", "noise")
MEASURES = {f"{kind}{name}" for kind in ("psnr", "ssim") for name in ("", *(f"/{name}" for name in NAMES))}
EVERY_STEP = {"train/loss", "train/gradient_norm", "train/learning_rate", "train/images_per_second"}
TIMES = {f"time/{part}" for part in ("data", "synthesis", "forward_backward", "optimizer", "other")}
OF_PHASE = {
    "pretrain": {"train/restoration", "train/segmentation", "train/segmentation_accuracy"},
    "estimator": {"train/classification", "train/accuracy", "val/accuracy", "val/temperature", "val/unknown"},
}
_BLOCK = 32768  # of LevelDB's log format, which W&B's files have after a header of 7 bytes


@dataclass
class Run:
    """What is in the file of a W&B run."""

    folder: Path
    run: Any = None
    exit_code: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)

    def add(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.run = record.run
        elif kind == "history":
            self.history.append(values(record.history.item))
        elif kind == "config":
            self.config |= values(record.config.update)
        elif kind == "artifact":
            self.artifacts.append(record.artifact)
        elif kind == "metric":
            self.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "exit":
            self.exit_code = record.exit.exit_code

    @property
    def keys(self) -> set[str]:
        return {key for row in self.history for key in row}

    def media(self, key: str) -> dict[str, Any]:
        (row,) = [row for row in self.history if key in row]
        value: dict[str, Any] = row[key]
        return value

    def of_kind(self, kind: str) -> list[Any]:
        return [artifact for artifact in self.artifacts if artifact.type == kind]


def records(file: Path) -> Iterator[Any]:
    data = file.read_bytes()
    assert data.startswith(b":W&B")
    position, record = 7, b""
    while position + 7 <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        part = data[position + 7 : position + 7 + length]
        record = part if kind in (1, 2) else record + part
        position += 7 + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(record)  # type: ignore[attr-defined]


def values(items: Any) -> dict[str, Any]:
    """The values of a record by key, those below it as a dictionary."""
    found: dict[str, Any] = {}
    for item in items:
        key, *below = [item.key] if item.key else item.nested_key
        value = json.loads(item.value_json)
        if below:
            found.setdefault(key, {})[".".join(below)] = value
        else:
            found[key] = value
    return found


def read(folder: Path) -> Run:
    """Read a run that has ended; W&B writes the end of its file a moment later."""
    (file,) = folder.glob("*.wandb")
    for _ in range(100):
        run = Run(folder)
        for record in records(file):
            run.add(record)
        if run.exit_code is not None:
            return run
        time.sleep(0.1)
    pytest.fail(f"{file} has no end")


@dataclass
class Pipeline:
    """The runs by name, and where they wrote."""

    root: Path
    shards: Path
    output: str
    options: list[str]

    def runs(self, name: str) -> list[Run]:
        found = map(read, sorted(self.root.glob("*/wandb/offline-run-*")))
        return [run for run in found if run.run.display_name == name]

    def run(self, name: str) -> Run:
        (found,) = self.runs(name)
        return found


def phase(command: str, name: str, folder: Path, *options: str) -> list[str]:
    return [
        *(command, "--config", str(CONFIGS / f"{name}.yaml"), "--config", str(CONFIGS / "wandb" / "tracking.yaml")),
        *("--trainer.default_root_dir", str(folder), "--trainer.logger.save_dir", str(folder), *options),
    ]


@pytest.fixture(scope="module")
def pipeline(sample_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Train all phases for three steps, in an empty current folder, and test the result."""
    root, here = tmp_path_factory.mktemp("tracked"), tmp_path_factory.mktemp("current")
    options = [
        *("--data.train", str(sample_shards / "train"), "--data.val", str(sample_shards / "val")),
        *("--data.workers", "0", "--data.batch_size", "2", "--data.patch_px", "32", "--data.val_patch_px", "32"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *("--trainer.enable_model_summary", "false", "--trainer.log_every_n_steps", "1"),
        *("--trainer.val_check_interval", "3", "--tracking.tensorboard", "true"),
    ]
    first, adapters, final = (root / name / "bundle" for name in ("pretrain", "adapters", "estimator"))
    fit = [*options, "--trainer.max_steps", "3"]
    scratch = ["--model.preset", "tiny", "--model.degradations", "[rain, noise]", "--model.save_to", str(first)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as output:
        patch.chdir(here)
        for name in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(root / "wandb-own"))
        for name in ("API_KEY", "MODE", "PROJECT", "RUN_ID", "RUN_GROUP"):
            patch.delenv(f"WANDB_{name}", raising=False)
        assert main(phase("fit", "pretrain", root / "pretrain", *fit, *scratch)) == 0
        for name in NAMES:
            chosen = ["--model.degradation", name, "--model.init_from", str(first), "--model.save_to", str(adapters)]
            assert main(phase("fit", "adapter", root / "adapters", *fit, *chosen)) == 0
        chosen = ["--model.init_from", str(adapters), "--model.save_to", str(final)]
        assert main(phase("fit", "estimator", root / "estimator", *fit, *chosen)) == 0
        chosen = ["--model.init_from", str(final), "--model.save_to", str(root / "none")]
        assert main(phase("test", "estimator", root / "estimator", *options, *chosen)) == 0
        assert list(here.iterdir()) == [], "W&B should write nothing into the current folder"
        assert wandb.run is None
        yield Pipeline(root, sample_shards, output.getvalue(), options)


def test_all_runs_are_in_one_project_and_group(pipeline: Pipeline) -> None:
    runs = [pipeline.run(name) for name in (*PHASES, "estimator-test")]
    assert {run.run.project for run in runs} == {"abair-pl"}
    assert {run.run.run_group for run in runs} == {f"tiny-{runs[0].run.run_id}"}
    assert [run.run.job_type for run in runs] == ["pretrain", "adapter", "adapter", "estimator", "test"]
    assert len({run.run.run_id for run in runs}) == 5
    assert [run.exit_code for run in runs] == [0] * 5


@pytest.mark.parametrize("name", PHASES)
def test_a_run_has_the_promised_keys(name: str, pipeline: Pipeline) -> None:
    run = pipeline.run(name)
    kind = name.partition("-")[0]
    measured = {key for key in MEASURES if kind != "adapter" or name.partition("-")[2] in key or "/" not in key}
    promised = EVERY_STEP | TIMES | {f"val/{key}" for key in measured} | OF_PHASE.get(kind, set())
    assert promised | {"val/panel", "data/broken", "epoch"} <= run.keys
    last = next(row for row in reversed(run.history) if "time/data" in row)
    assert sum(last[key] for key in TIMES) == pytest.approx(1.0)


@pytest.mark.parametrize("name", [*PHASES, "estimator-test"])
def test_all_is_drawn_over_the_step_of_training(name: str, pipeline: Pipeline) -> None:
    run = pipeline.run(name)
    assert all("trainer/global_step" in row for row in run.history)
    assert run.axes["*"] == "trainer/global_step"
    if name in PHASES:
        assert run.axes["val/panel"] == "trainer/global_step"
        steps = {
            key: row["trainer/global_step"] for row in run.history for key in ("val/panel", "val/psnr") if key in row
        }
        assert steps == {"val/panel": 2, "val/psnr": 2}


@pytest.mark.parametrize(("name", "rows"), zip(PHASES, (2, 1, 1, 2), strict=True))
def test_a_run_has_its_panel_on_disk(name: str, rows: int, pipeline: Pipeline) -> None:
    run = pipeline.run(name)
    (file,) = run.media("val/panel")["filenames"]
    assert Image.open(run.folder / "files" / file).size == (4 * 32, rows * 32)


@pytest.mark.parametrize("name", PHASES)
def test_a_run_has_its_configuration(name: str, pipeline: Pipeline) -> None:
    config = pipeline.run(name).config
    assert config["model"]["class_path"].endswith(f"{name.partition('-')[0].capitalize()}Module")
    assert config["data"]["init_args"]["batch_size"] == 2
    assert config["trainer"]["max_steps"] == 3
    assert config["tracking"]["wandb"] == "offline"


@pytest.mark.parametrize("name", PHASES)
def test_a_run_has_its_artifacts(name: str, pipeline: Pipeline) -> None:
    """Of the bundle what the phase made; of the data the manifests. Their files are there to be sent."""
    run = pipeline.run(name)
    (made,) = run.of_kind("bundle")
    assert made.name == f"{name}-{run.run.run_group}"
    weights = {"pretrain": "backbone.safetensors", "estimator": "estimator.safetensors"}
    folder = f"adapters/{name.partition('-')[2]}"
    parts = (
        [weights[name]]
        if name in weights
        else [f"{folder}/adapter_{part}" for part in ("config.json", "model.safetensors")]
    )
    entries = {entry.path: Path(entry.local_path) for entry in made.manifest.contents}
    assert set(entries) == {"config.json", "README.md", *parts}
    metadata = json.loads(made.metadata)
    assert metadata["sha256"] == {path: file_sha256(file) for path, file in entries.items()}
    assert metadata["provenance"]["wandb_run"] == run.run.run_id
    assert all(file.is_relative_to(run.folder) for file in entries.values())
    datasets = {artifact.name: json.loads(artifact.metadata)["sha256"] for artifact in run.of_kind("dataset")}
    digests = {use: file_sha256(pipeline.shards / use / "manifest.json") for use in ("train", "val")}
    expected = {f"shards-{use}-{digest[:8]}": digest for use, digest in digests.items()}
    assert datasets == expected
    assert sorted(run.config["inputs"]["manifests"].values()) == sorted(expected.values())


def test_lineage_can_be_followed(pipeline: Pipeline) -> None:
    """The inputs of a run name the very artifacts that the runs before it made."""
    runs = {name: pipeline.run(name) for name in (*PHASES, "estimator-test")}
    made = {}
    for name in PHASES:
        (artifact,) = runs[name].of_kind("bundle")
        (alias,) = [alias for alias in artifact.aliases if alias != "latest"]
        made[name] = f"abair-pl/{artifact.name}:{alias}"
    inputs = {name: run.config["inputs"]["artifacts"] for name, run in runs.items()}
    assert inputs["pretrain"] == []
    assert inputs["adapter-rain"] == inputs["adapter-noise"] == [made["pretrain"]]
    assert inputs["estimator"] == [made[name] for name in PHASES[:3]]
    assert inputs["estimator-test"] == list(made.values())
    final = Bundle.open(pipeline.root / "estimator" / "bundle")
    used = runs["estimator-test"].config["inputs"]["bundle"]
    assert used["backbone_sha256"] == final.config.backbone_sha256
    assert used["adapters"] == final.adapter_digests()


def test_the_test_has_its_tables(pipeline: Pipeline) -> None:
    run = pipeline.run("estimator-test")
    assert {f"test/{key}" for key in MEASURES} | {"test/accuracy", "test/calibration_error"} <= run.keys
    assert run.media("test/measures")["_type"] == run.media("test/images")["_type"] == "table-file"
    files = {e.path: Path(e.local_path) for table in run.of_kind("run_table") for e in table.manifest.contents}
    measures, images = (json.loads(files[f"test/{name}.table.json"].read_text()) for name in ("measures", "images"))
    assert [row[0] for row in measures["data"]] == list(NAMES)
    for name, decibels, similarity in measures["data"]:
        (row,) = [row for row in run.history if f"test/psnr/{name}" in row]
        assert [decibels, similarity] == pytest.approx([row[f"test/psnr/{name}"], row[f"test/ssim/{name}"]])
    assert sorted(row[0] for row in images["data"]) == ["noise"] * 4 + ["rain"] * 4
    assert images["columns"][6:] == ["input", "restored", "clean"]
    pictures = [Image.open(files[cell["path"]]) for row in images["data"] for cell in row[6:]]
    assert [picture.size for picture in pictures] == [(32, 32)] * 24
    assert not [key for name in PHASES for key in pipeline.run(name).keys if key.startswith("test/")]


def test_the_command_to_send_each_run_is_printed(pipeline: Pipeline) -> None:
    for name in (*PHASES, "estimator-test"):
        assert f"wandb sync {pipeline.run(name).folder}\n" in pipeline.output


@pytest.mark.parametrize("name", ["pretrain", "estimator"])
def test_tensorboard_and_csv_have_the_same_measures(name: str, pipeline: Pipeline) -> None:
    (events,) = (pipeline.root / name / "tensorboard" / "version_0").glob("events*")
    board = EventAccumulator(str(events))
    board.Reload()
    with (pipeline.root / name / "logs" / "version_0" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    keys = {key for row in rows for key, value in row.items() if value} - {"step"}
    own = {"val/panel", "trainer/global_step", "_step", "_runtime", "_timestamp"}
    assert set(board.Tags()["scalars"]) == keys == pipeline.run(name).keys - own
    assert board.Tags()["images"] == ["val/panel"]
    for key in keys:
        steps, numbers = zip(*((int(row["step"]), float(row[key])) for row in rows if row[key]), strict=True)
        assert tuple(event.step for event in board.Scalars(key)) == steps
        assert tuple(event.value for event in board.Scalars(key)) == pytest.approx(numbers)


def test_a_resumed_run_goes_on_as_the_same_run(pipeline: Pipeline) -> None:
    checkpoint = max((pipeline.root / "pretrain").glob("checkpoints/pretrain/run-0/*.ckpt"))
    options = [*pipeline.options, "--model.preset", "tiny", "--model.degradations", "[rain, noise]"]
    options += ["--model.save_to", str(pipeline.root / "resumed"), "--trainer.max_steps", "5"]
    assert main(phase("fit", "pretrain", pipeline.root / "pretrain", *options, "--ckpt_path", str(checkpoint))) == 0
    first, second = pipeline.runs("pretrain")
    assert first.folder != second.folder
    assert second.run.run_id == first.run.run_id
    assert (second.run.project, second.run.run_group) == (first.run.project, first.run.run_group)
    assert second.run.resume, "so that wandb sync appends to the run"
    steps = [row["trainer/global_step"] for row in second.history if "train/loss" in row]
    assert min(steps) > max(row["trainer/global_step"] for row in first.history if "train/loss" in row)
    (record,) = (pipeline.root / "pretrain").rglob("tracking.json")
    assert json.loads(record.read_text())["run"] == first.run.run_id
