"""Names of checkpoints, and damaged ones."""

import random
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.modules.checkpoints_made import WEIGHT, Executed, write

from abair_pl.errors import InputError
from abair_pl.modules.checkpoint_files import (
    AtomicCheckpointIO,
    checkpoint_file,
    checkpoints_of,
    damage,
    keep_newest,
    new_run,
    newest_checkpoint,
    runs_in,
)


def test_checkpoints_and_runs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folders = [tmp_path / f"run-{number}" for number in (10, 9, 0)]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "run-3").write_text("no folder")
    (tmp_path / "run-old").mkdir()
    files = [write(folders[0], step) for step in (1000, 20, 300)]
    for other in ("step-last.ckpt", "last.ckpt", "step-000000001.txt", ".step-000000001.ckpt.ab.partial"):
        (folders[0] / other).touch()
    assert runs_in(tmp_path) == folders[::-1]
    assert [path.name for path in checkpoints_of(folders[0])] == [
        "step-000000020.ckpt",
        "step-000000300.ckpt",
        "step-000001000.ckpt",
    ]
    assert newest_checkpoint(tmp_path) == files[0]


def test_a_new_run_comes_after_all_others(tmp_path: Path) -> None:
    place = tmp_path / "checkpoints" / "pretrain"
    assert [new_run(place).name for _ in range(3)] == ["run-0", "run-1", "run-2"]
    (place / "run-1").rmdir()
    assert new_run(place).name == "run-3"
    (place / "run-4").write_text("no folder")
    assert new_run(place).name == "run-5"


def test_no_two_threads_get_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen the same folders before either makes one."""
    monkeypatch.setattr("abair_pl.modules.checkpoint_files.runs_in", lambda place: [])
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: new_run(tmp_path), range(20)))
    assert {folder.name for folder in made} == {f"run-{number}" for number in range(20)}


def newest_with_warnings(place: Path) -> tuple[Path | None, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = newest_checkpoint(place)
    return found, [str(each.message) for each in caught]


def test_the_newest_is_taken_also_where_the_last_run_has_none(tmp_path: Path) -> None:
    assert newest_with_warnings(tmp_path / "none") == (None, [])
    first, second = new_run(tmp_path), new_run(tmp_path)
    assert newest_with_warnings(tmp_path) == (None, [])
    older = write(first, 30)
    assert newest_with_warnings(tmp_path) == (older, [])
    newer = write(second, 20)
    assert newest_with_warnings(tmp_path) == (newer, [])


def test_checkpoints_cut_at_any_length_are_passed_over(tmp_path: Path) -> None:
    """From the first byte missing at the end to nearly all of them."""
    run = new_run(tmp_path)
    whole = write(run, 1)
    content, draw = whole.read_bytes(), random.Random(0)
    lengths = [len(content) - 1, *(draw.randrange(1, len(content)) for _ in range(10))]
    cut = [checkpoint_file(run, step) for step in range(2, 2 + len(lengths))]
    for path, length in zip(cut, lengths, strict=True):
        path.write_bytes(content[:length])
    found, said = newest_with_warnings(tmp_path)
    assert found == whole
    assert len(said) == len(cut)
    for line, path in zip(said, reversed(cut), strict=True):
        assert line.startswith(f"{path} is passed over, as it is damaged (")
        assert "\n" not in line
        with pytest.raises(InputError, match=r"is damaged, or no checkpoint.*--resume auto"):
            AtomicCheckpointIO().load_checkpoint(path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.find(WEIGHT.numpy().tobytes())
    assert start > 0
    content[start + 500] ^= 1
    path.write_bytes(content)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def pickled(path: Path) -> None:
    torch.save({"state_dict": Executed(path.with_suffix(".executed"))}, path)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "one bit of a tensor": flip,
    "empty": lambda path: path.write_bytes(b""),
    "folder": as_folder,
    "no zip": lambda path: path.write_text("a checkpoint? " * 100),
    "pickled object": pickled,
    "dangling link": as_link,
}


@pytest.mark.parametrize("harm", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_passed_over_with_one_warning(harm: Callable[[Path], Any], tmp_path: Path) -> None:
    older_run, run = new_run(tmp_path), new_run(tmp_path)
    whole, harmed = write(older_run, 50), write(run, 10)
    assert damage(harmed) is None
    harm(harmed)
    found, said = newest_with_warnings(tmp_path)
    assert found == whole
    assert [line.partition(" is passed over")[0] for line in said] == [str(harmed)]
    assert not list(tmp_path.rglob("*.executed"))


def test_the_newest_are_kept_and_halves_removed(tmp_path: Path) -> None:
    for step in (5, 100, 20, 3000):
        write(tmp_path, step)
    (tmp_path / ".step-000000001.ckpt.ab.partial").touch()
    (tmp_path / "notes.txt").touch()
    keep_newest(tmp_path, 2)
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == ["notes.txt", "step-000000100.ckpt", "step-000003000.ckpt"]
    keep_newest(tmp_path, 2)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == left
