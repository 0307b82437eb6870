import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from abair_pl.batch import Position
from abair_pl.data.manifest import Manifest, ShardEntry
from abair_pl.data.streaming.progress import Progress
from abair_pl.data.streaming.resume import StreamRecord

Picture = Callable[..., NDArray[np.uint8]]
Encoded = Callable[..., bytes]
WriteTar = Callable[[Path, Mapping[str, bytes]], str]
SCRIPT = Path(__file__).with_name("stream_run.py")
LEAKING = ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "RANK", "PL_GLOBAL_SEED")


@pytest.fixture(scope="module")
def run() -> Callable[..., dict[str, Any]]:
    """What the script does, in this process."""
    spec = importlib.util.spec_from_file_location("stream_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, picture: Picture, encoded: Encoded, write_tar: WriteTar
) -> dict[str, str]:
    """``train`` and ``val``: five shards each of 3 to 7 pairs; one of ``train`` is broken."""
    root = tmp_path_factory.mktemp("streams")
    for part in ("train", "val"):
        (root / part).mkdir()
        entries = []
        for number in range(5):
            members: dict[str, bytes] = {}
            for index in range(3 + number):
                key, image = f"{part}-{number}-{index}", picture(10 * number + index, 12, 14)
                members |= {f"{key}.input.png": encoded(255 - image), f"{key}.target.png": encoded(image)}
            if (part, number) == ("train", 2):
                members["train-2-1.input.png"] = b""
            write_tar(root / part / f"{number}.tar", members)
            entries.append(ShardEntry(f"{number}.tar", 3 + number, 0, ""))
        Manifest("paired", "", complete=True, shards=entries).write(root / part)
    return {"train": str(root / "train"), "val": str(root / "val")}


@pytest.fixture
def data(folders: dict[str, str]) -> dict[str, Any]:
    """The datamodule's options."""
    return {**folders, "batch_size": 2, "workers": 0, "max_broken_share": 0.5}


def _in_two_processes(output: Path, **options: Any) -> list[dict[str, Any]]:
    """What both ranks saw."""
    output.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in LEAKING}
    command = [sys.executable, str(SCRIPT), json.dumps({"output": str(output), "devices": 2, **options})]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((output / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [3, 6])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(
    run: Callable[..., dict[str, Any]], data: dict[str, Any], tmp_path: Path, workers: int, step: int
) -> None:
    data["workers"] = workers
    whole = run(tmp_path, 16, **data)["seen"]
    assert len(whole) == 16
    assert whole[-1]["epochs"] > [0]
    checkpoint = str(tmp_path / f"checkpoints/step={step}.ckpt")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the stream's position|You're resuming")
        assert run(tmp_path, 16, checkpoint=checkpoint, **data)["seen"] == whole[step:]


def test_it_does_so_from_a_mixture(run: Callable[..., dict[str, Any]], data: dict[str, Any], tmp_path: Path) -> None:
    data["train"] = {data["train"]: 0.75, data["val"]: 0.25}
    data["workers"] = 2
    whole = run(tmp_path, 10, **data)["seen"]
    assert {key.partition("-")[0] for batch in whole for key in batch["keys"]} == {"train", "val"}
    resumed = run(tmp_path, 10, checkpoint=str(tmp_path / "checkpoints/step=3.ckpt"), **data)
    assert resumed["seen"] == whole[3:]


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_of_the_trainer_do_not_begin_the_data_again(
    run: Callable[..., dict[str, Any]], data: dict[str, Any], tmp_path: Path, workers: int
) -> None:
    data["workers"] = workers
    whole = run(tmp_path, 9, **data)["seen"]
    assert run(tmp_path, 9, trainer_options={"limit_train_batches": 3}, **data)["seen"] == whole


@pytest.mark.parametrize("changed", [{"workers": 2}, {"seed": 1}, {"shuffle_buffer": 5}])
def test_another_setting_goes_on_with_the_next_epoch_and_says_so(
    run: Callable[..., dict[str, Any]], data: dict[str, Any], tmp_path: Path, changed: dict[str, Any]
) -> None:
    run(tmp_path, 3, **data)
    checkpoint = str(tmp_path / "checkpoints/step=3.ckpt")
    with pytest.warns(UserWarning, match=rf"fit this run \({next(iter(changed))} was \d, is \d\).*start of epoch 1"):
        seen = run(tmp_path, 5, checkpoint=checkpoint, **{**data, **changed})["seen"]
    assert [batch["epochs"] for batch in seen] == [[1], [1]]


def test_other_shards_of_the_same_number_go_on_with_the_next_epoch_and_say_so(
    run: Callable[..., dict[str, Any]], data: dict[str, Any], tmp_path: Path
) -> None:
    run(tmp_path, 3, **data)
    checkpoint = str(tmp_path / "checkpoints/step=3.ckpt")
    moved = shutil.copytree(data["train"], tmp_path / "moved")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the stream's position")
        run(tmp_path, 5, checkpoint=checkpoint, **{**data, "train": str(moved)})
    replace(Manifest.read(moved), source_sha256="another").write(moved)
    with pytest.warns(UserWarning, match=r"fit this run \(sources was \[\[5, 1\.0, '.*start of epoch 1"):
        seen = run(tmp_path, 5, checkpoint=checkpoint, **{**data, "train": str(moved)})["seen"]
    assert [batch["epochs"] for batch in seen] == [[1], [1]]


def test_checkpoints_hold_plain_types(run: Callable[..., dict[str, Any]], data: dict[str, Any], tmp_path: Path) -> None:
    run(tmp_path, 3, **data)
    checkpoint = torch.load(tmp_path / "checkpoints/step=3.ckpt", weights_only=True)
    state = checkpoint["WatchedDataModule"]
    assert json.loads(json.dumps(state)) == state
    assert state["ranks"][0]["positions"] == [[0, 6, [[0, state["ranks"][0]["positions"][0][2][0][1]]]]]


def test_broken_samples_are_in_the_metrics(
    run: Callable[..., dict[str, Any]], data: dict[str, Any], tmp_path: Path
) -> None:
    run(tmp_path, 14, **data)  # 25 samples an epoch, so the broken one was met
    assert _broken(tmp_path)[0] == 0.0
    assert _broken(tmp_path)[-1] == 1.0
    run(tmp_path, 15, checkpoint=str(tmp_path / "checkpoints/step=12.ckpt"), **data)
    assert _broken(tmp_path)[-1] == 1.0, "a resumed run goes on counting"


def _broken(output: Path) -> list[float]:
    log = max(output.glob("lightning_logs/version_*/metrics.csv"))
    with log.open() as stream:
        return [float(row["data/broken"]) for row in csv.DictReader(stream) if row.get("data/broken")]


class TestTwoProcesses:
    @pytest.fixture(scope="class")
    def whole(self, folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
        """A run of two ranks with two workers each over five shards, and what both saw."""
        output = tmp_path_factory.mktemp("ddp") / "whole"
        options = {**folders, "batch_size": 4, "workers": 2, "max_broken_share": 0.5}
        return output, _in_two_processes(output, steps=8, lonely_step=2, **options)

    def test_every_validation_sample_is_seen_once(self, whole: tuple[Path, list[Any]]) -> None:
        validated = [key for rank in whole[1] for key in rank["validated"]]
        assert sorted(validated) == sorted(
            f"val-{number}-{index}" for number in range(5) for index in range(3 + number)
        )
        assert all(rank["validated"] for rank in whole[1])

    def test_the_ranks_see_different_photographs_in_an_epoch(self, whole: tuple[Path, list[Any]]) -> None:
        first, second = (
            {key for batch in rank["seen"] if batch["epochs"] == [0] for key in batch["keys"]} for rank in whole[1]
        )
        assert first
        assert second
        assert not first & second

    def test_rank_zero_alone_does_not_wait_for_ever(self, whole: tuple[Path, list[Any]]) -> None:
        assert [rank["lonely_ranks"] for rank in whole[1]] == [1, None]

    def test_broken_samples_of_all_ranks_are_counted(self, whole: tuple[Path, list[Any]]) -> None:
        output, ranks = whole
        met = sum(batch["broken"] for rank in ranks for batch in rank["seen"][:-1])
        assert met >= 1
        assert _broken(output)[-1] >= met
        checkpoint = torch.load(output / "checkpoints/step=6.ckpt", weights_only=True)
        saved = [rank["broken"] for rank in checkpoint["WatchedDataModule"]["ranks"]]
        assert saved == [sum(batch["broken"] for batch in rank["seen"][:6]) for rank in ranks]

    def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(
        self, whole: tuple[Path, list[Any]], folders: dict[str, str], tmp_path: Path
    ) -> None:
        output, ranks = whole
        options = {**folders, "batch_size": 4, "workers": 2, "max_broken_share": 0.5}
        checkpoint = str(output / "checkpoints/step=3.ckpt")
        resumed = _in_two_processes(tmp_path / "resumed", steps=8, checkpoint=checkpoint, **options)
        assert [rank["seen"] for rank in resumed] == [rank["seen"][3:] for rank in ranks]

    def test_one_rank_goes_on_with_the_next_epoch(
        self, run: Callable[..., dict[str, Any]], whole: tuple[Path, list[Any]], data: dict[str, Any], tmp_path: Path
    ) -> None:
        checkpoint = str(whole[0] / "checkpoints/step=3.ckpt")
        last = max(batch["epochs"][0] for rank in whole[1] for batch in rank["seen"][:3])
        data["workers"] = 2
        with pytest.warns(UserWarning, match="world_size was 2, is 1"):
            seen = run(tmp_path, 5, checkpoint=checkpoint, **data)["seen"]
        assert [batch["epochs"] for batch in seen] == [[last + 1]] * 2


class TestStreamRecord:
    SETTINGS = {"world_size": 1, "seed": 0}  # noqa: RUF012

    def test_what_is_saved_is_restored(self) -> None:
        record, other = StreamRecord(), StreamRecord()
        record.progress.note(Position(1, 8, ((2, 3), (0, 5))), 2, 2)
        other.load(record.state(self.SETTINGS, 0))
        assert other.resume(self.SETTINGS, 0) == Progress(0, {1: Position(1, 8, ((2, 3), (0, 5)))}, (0, 0), 2)

    def test_a_later_start_is_after_all_that_was_begun(self) -> None:
        one, two = Progress(), Progress(start=(4, 2), broken=3)
        one.note(Position(0, 9, ((2, 3), (6, 5))), 1, 1)
        later = Progress.after([one.state(), two.state()], rank=0)
        assert (later.start, later.positions, later.broken) == ((9, 7), {}, 4)
        assert Progress.after([one.state(), two.state()], rank=1).broken == 0
        assert Progress.after([Progress().state()], rank=0).start == (0, 0)

    def test_an_interval_of_zero_logs_what_changes_alone(self) -> None:
        logged: list[float] = []
        logger = SimpleNamespace(log_metrics=lambda row, _: logged.append(row["data/broken"]))
        trainer = SimpleNamespace(log_every_n_steps=0, global_step=0, global_rank=0, world_size=1, loggers=[logger])
        record = StreamRecord()
        for broken in (0, 0, 2, 0):
            record.note(Position(0, 1, ((0, 1),)), broken, 1, trainer)
        assert logged == [0.0, 2.0]

    def test_loading_is_done_once(self) -> None:
        record = StreamRecord()
        record.load(Progress(start=(1, 1)).state() | {"ranks": [Progress(start=(1, 1)).state()], **self.SETTINGS})
        progress = record.resume(self.SETTINGS, 0)
        progress.note(Position(0, 2, ((1, 1),)), 0, 1)
        assert record.resume(self.SETTINGS, 0) is progress
