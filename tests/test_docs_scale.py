"""What docs/scale.md works out: its table, and what a dry run says about it."""

import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from abair_pl.cli import main
from abair_pl.data.augment import Augmentation
from abair_pl.data.streaming import stream as streaming
from abair_pl.data.streaming.fetch import ShardOpener
from abair_pl.data.streaming.progress import Progress
from abair_pl.data.streaming.sources import Source
from abair_pl.data.streaming.stream import TrainStream
from abair_pl.models.presets import preset_config
from abair_pl.modules.checkpoint_files import checkpoint_file, checkpoints_of, keep_newest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text()


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("abair_docs_scale", ROOT / "docs" / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_the_program_prints(scale: ModuleType) -> None:
    assert scale.markdown(scale.RUNS) in PAGE


def test_the_rates_are_those_of_the_page(scale: ModuleType) -> None:
    used = [
        float(value.replace(" ", "").removesuffix("/s")) for value in ("96 000", "670 /s") if f"| {value} |" in PAGE
    ]
    assert used == [scale.Rates().sample_bytes, scale.Rates().loader_per_s]
    run = scale.Run()
    assert f"8 x {run.workers} x 1000 x 96 kB = {8 * run.workers * 1000 * run.rates.sample_bytes / 1e9:.1f} GB" in PAGE


def test_the_network_is_preset_paper(scale: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--preset", "paper", "--json", "--steps", "0"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["gflops_256x256"] * 1e9 == pytest.approx(scale.Run().forward_flop, rel=1e-3)
    assert counted["backbone_parameters"] == pytest.approx(scale.Run().parameters, rel=1e-3)
    assert preset_config("paper")


def readers(shards: int, slots: int, progress: Progress | None = None) -> list[TrainStream]:
    """One stream a reader, as ranks without workers have them."""
    source = Source("dry", [f"{index:06d}" for index in range(shards)], 1.0)
    opener, augmentation = ShardOpener(None, None, False), Augmentation(128, random=True)
    return [
        TrainStream([source], augmentation, 0, rank, slots, 100, opener, 0.01, progress or Progress())
        for rank in range(slots)
    ]


@pytest.fixture
def _dry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that are opened for three samples each, of which only the names are there."""

    def names(shards: list[str], opener: Any) -> Iterator[dict[str, Any]]:
        for shard in shards:
            for index in range(3):
                yield {"__key__": f"{shard}/{index}", "__url__": shard}

    monkeypatch.setattr(streaming, "read_samples", names)


@pytest.mark.usefixtures("_dry")
@pytest.mark.parametrize(("even", "spread"), [(False, 1), (True, 0)])
def test_every_shard_once_an_epoch_over_all_readers(scale: ModuleType, even: bool, spread: int) -> None:
    run = scale.Run()
    shards = run.even_shards if even else run.shards
    streams = readers(shards, run.slots)
    feeds = [each._feed(0, slot, run.slots, 0, 0) for slot, each in enumerate(streams)]
    orders = []
    for epoch in range(2):
        seen: Counter[str] = Counter()
        counts = []
        for slot, feed in enumerate(feeds):
            count = 3 * len(range(slot, shards, run.slots))
            given = list(islice(feed, count))
            assert {at for at, _, _ in given} == {epoch}
            seen.update(sample["__key__"] for _, _, sample in given)
            counts.append(count // 3)
        assert len(seen) == 3 * shards
        assert set(seen.values()) == {1}
        assert max(counts) - min(counts) == spread
        orders.append([sample["__key__"] for _, _, sample in given])
    assert orders[0] != orders[1]


@pytest.mark.usefixtures("_dry")
@pytest.mark.parametrize("taken", [1, 57, 116, 117, 118, 200])
def test_a_reader_goes_on_in_the_middle_of_an_epoch(scale: ModuleType, taken: int) -> None:
    run, slot = scale.Run(), 77
    (whole,) = [each for each in readers(run.shards, run.slots) if each.rank == slot]
    going_on = whole._feed(0, slot, run.slots, 0, 0)
    (*_, (epoch, index, _)) = islice(going_on, taken)
    again = whole._feed(0, slot, run.slots, epoch, index)
    keys = [[(at, sample["__key__"]) for at, _, sample in islice(feed, 150)] for feed in (going_on, again)]
    assert keys[0] == keys[1]


def test_checkpoints_of_the_whole_run_are_pruned(scale: ModuleType, tmp_path: Path) -> None:
    run = scale.Run()
    steps = range(run.checkpoint_every, run.steps + 1, run.checkpoint_every)
    for step in steps:
        checkpoint_file(tmp_path, step).touch()
        keep_newest(tmp_path, run.checkpoints_kept)
        assert len(checkpoints_of(tmp_path)) <= run.checkpoints_kept
    assert checkpoints_of(tmp_path) == [checkpoint_file(tmp_path, step) for step in steps[-run.checkpoints_kept :]]


@pytest.mark.parametrize("loader_per_s", [670.0, 20.0])
def test_a_run_by_a_clock_takes_as_long_as_the_formulas_say(scale: ModuleType, loader_per_s: float) -> None:
    """A queue of two batches a worker between loader and GPU, with checkpoints and validations in between."""
    run = scale.Run(steps=20_000, rates=scale.Rates(loader_per_s=loader_per_s))
    clock, ready = 0.0, 0.0
    waiting = 2 * run.workers
    taken_at = [0.0] * waiting
    for step in range(1, run.steps + 1):
        ready = max(ready, taken_at[step % waiting]) + run.loader_s  # the loader waits where the queue is full
        clock = max(clock, ready)
        taken_at[step % waiting] = clock
        clock += run.synthesis_s + run.network_s + run.exchange_s
        clock += run.checkpoint_s if step % run.checkpoint_every == 0 else 0.0
        clock += run.validation_s if step % run.validate_every == 0 else 0.0
    assert run.seconds == pytest.approx(clock, rel=0.01)


def test_a_checkpoint_has_sixteen_bytes_a_parameter(scale: ModuleType, sample_shards: Path, tmp_path: Path) -> None:
    options = [
        *("--config", str(ROOT / "configs" / "pretrain.yaml"), "--model.preset", "tiny"),
        *("--config", str(ROOT / "configs" / "trainer" / "cpu.yaml"), "--data.workers", "0"),
        *("--model.save_to", str(tmp_path / "bundle"), "--data.train", str(sample_shards / "train")),
        *("--data.val", str(sample_shards / "val"), "--data.batch_size", "2", "--data.patch_px", "32"),
        *("--trainer.max_steps", "1", "--trainer.limit_val_batches", "0", "--trainer.logger", "false"),
        *("--trainer.default_root_dir", str(tmp_path), "--trainer.enable_progress_bar", "false"),
    ]
    assert main(["fit", *options]) == 0
    (file,) = tmp_path.rglob("*.ckpt")
    expected = scale.Run(parameters=1_937_440).checkpoint_bytes
    assert file.stat().st_size == pytest.approx(expected, rel=0.03)
