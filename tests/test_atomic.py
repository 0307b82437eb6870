import errno
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from abair_pl.atomic import locked, published, remove_partials, remove_scratch, replacing, scratch, write_text


class StoppedError(Exception):
    """What stops a block in these tests."""


def make_file(path: Path, text: str) -> None:
    path.write_text(text)


def make_folder(path: Path, text: str) -> None:
    (path / "inside").mkdir(parents=True)
    (path / "inside" / "file").write_text(text)


def read(path: Path) -> str | None:
    inner = path / "inside" / "file" if path.is_dir() else path
    return inner.read_text() if inner.exists() else None


KINDS = pytest.mark.parametrize("make", [make_file, make_folder], ids=["file", "folder"])
Make = Callable[[Path, str], None]


def test_a_scratch_directory_lies_beside_its_path_and_goes_whatever_happens(tmp_path: Path) -> None:
    path = tmp_path / "new" / "thing"
    with pytest.raises(StoppedError), scratch(path) as folder:
        assert folder.parent == path.parent
        assert folder.stat().st_mode & 0o777 == 0o755
        (folder / "file").write_text("half")
        raise StoppedError
    assert list(path.parent.iterdir()) == []


@KINDS
def test_what_a_library_made_for_its_owner_alone_is_readable_by_the_group(make: Make, tmp_path: Path) -> None:
    """As files of safetensors; a cluster's users share bundles."""
    made, plain, path = tmp_path / "made", tmp_path / "plain", tmp_path / "name"
    make(made, "new")
    plain.touch()
    file = made / "inside" / "file" if made.is_dir() else made
    file.chmod(0o700)
    with replacing(made, path):
        shared = path / file.relative_to(made)
        assert shared.stat().st_mode == 0o100100 | plain.stat().st_mode


@KINDS
@pytest.mark.parametrize("before", [None, "old"])
def test_a_name_is_given_in_the_block_and_kept_after_it(make: Make, before: str | None, tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "name"
    make(made, "new")
    if before:
        make(path, before)
    with replacing(made, path):
        assert read(path) == "new"
    assert read(path) == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["name"]


@KINDS
def test_what_had_the_name_is_kept_once(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "name"
    make(path, "0")
    for text in "12":
        make(tmp_path / "made", text)
        with replacing(tmp_path / "made", path, keep=True):
            pass
    assert {entry.name: read(entry) for entry in tmp_path.iterdir()} == {"name": "2", "name.previous": "1"}


@KINDS
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_block_that_fails_gives_the_name_back(make: Make, keep: bool, before: str | None, tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "name"
    make(made, "new")
    if before:
        make(path, before)
    with pytest.raises(StoppedError), replacing(made, path, keep):
        raise StoppedError
    assert {entry.name: read(entry) for entry in tmp_path.iterdir()} == ({"name": before} if before else {})


@KINDS
@pytest.mark.parametrize("calls", [0, 1])
def test_a_move_that_fails_gives_the_name_back(
    make: Make, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, path, moves, move = tmp_path / "made", tmp_path / "name", [0], os.replace
    make(made, "new")
    make(path, "old")

    def stop(source: Any, target: Any) -> None:
        moves[0] += 1
        if moves[0] == calls + 1:
            raise StoppedError
        move(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(StoppedError), replacing(made, path):
        pytest.fail("the block should not run")
    assert {entry.name: read(entry) for entry in tmp_path.iterdir()} == {"made": "new", "name": "old"}


def test_text_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_text(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "new \udcff")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def hold(folder: Path, held: Event, release: Event) -> None:
    with locked(folder):
        held.set()
        release.wait(30)
        (folder / "done").touch()


def test_a_lock_waits_for_the_other_process(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    held, release = fork.Event(), fork.Event()
    other = fork.Process(target=hold, args=(tmp_path / "made", held, release))
    other.start()
    assert held.wait(30)
    release.set()
    with locked(tmp_path / "made"):
        assert (tmp_path / "made" / "done").exists()
    other.join(30)
    assert other.exitcode == 0


def test_a_lock_that_is_not_waited_for(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass
    with locked(tmp_path, wait=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def add_often(folder: Path, times: int) -> None:
    for _ in range(times):
        with locked(folder / "held", tidy=True):
            number = folder / "number"
            number.write_text(str(int(number.read_text()) + 1))


def test_a_lock_that_is_removed_each_time_holds_nonetheless(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    fork = multiprocessing.get_context("fork")
    others = [fork.Process(target=add_often, args=(tmp_path, 300)) for _ in range(4)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    assert (tmp_path / "number").read_text() == "1200"
    assert list((tmp_path / "held").iterdir()) == []


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with published(path) as partial:
        partial.write_bytes(b"whole")
        assert not path.exists()
        assert partial.parent == tmp_path
        assert partial.suffix != ".tar"  # so that nobody takes it for a shard
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    rename = os.replace

    def replace(made: Path, path: Path) -> None:
        steps.append("rename")
        rename(made, path)

    monkeypatch.setattr(os, "fsync", lambda file: steps.append("sync"))
    monkeypatch.setattr(os, "replace", replace)
    with published(tmp_path / "a.tar") as partial:
        partial.write_bytes(b"whole")
    assert steps == ["sync", "rename"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), published(path) as partial:
        partial.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_that_publish_the_same_do_not_meet(tmp_path: Path) -> None:
    with published(tmp_path / "a.tar") as first:
        first.write_bytes(b"same")
        with published(tmp_path / "a.tar") as second:
            assert second != first
            second.write_bytes(b"same")
    assert (tmp_path / "a.tar").read_bytes() == b"same"


def test_only_halves_of_the_given_names_are_removed(tmp_path: Path) -> None:
    kept = [tmp_path / ".b.tar.0123.partial", tmp_path / "a.tar", tmp_path / ".a.tar"]
    for path in (*kept, tmp_path / ".a.tar.0123.partial", tmp_path / ".a.tar.4567.partial"):
        path.touch()
    remove_partials(tmp_path, {"a.tar"})
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_without_locks_in_the_file_system_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path, tidy=True):
        (tmp_path / "made").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def hold_scratch(path: Path, held: Event, release: Event) -> None:
    with scratch(path) as folder:
        (folder / "half").touch()
        held.set()
        release.wait(30)


def test_what_a_killed_process_left_goes_and_what_a_running_one_has_stays(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    events = [(fork.Event(), fork.Event()) for _ in range(2)]
    processes = [fork.Process(target=hold_scratch, args=(tmp_path / "name", *pair)) for pair in events]
    for process, (held, _) in zip(processes, events, strict=True):
        process.start()
        assert held.wait(30)
    assert len(list(tmp_path.iterdir())) == 2
    processes[0].kill()
    processes[0].join()
    with scratch(tmp_path / "other"):
        assert len(list(tmp_path.iterdir())) == 3
    with scratch(tmp_path / "name"):
        assert len(list(tmp_path.iterdir())) == 2
    remove_scratch(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    events[1][1].set()
    processes[1].join(30)
    assert list(tmp_path.iterdir()) == []


def test_a_link_with_the_name_of_a_scratch_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / ".name.scratch-abcdefgh").symlink_to("mine")
    with scratch(tmp_path / "name"):
        pass
    assert (tmp_path / "mine" / "file").exists()


def test_a_lock_says_whether_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path) as held:
        assert held

    def fail(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no locks")

    monkeypatch.setattr("fcntl.flock", fail)
    with locked(tmp_path) as held:
        assert not held
