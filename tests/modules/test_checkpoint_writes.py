"""Checkpoints that are written whole or not at all, and read without running anything."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.modules.checkpoints_made import WEIGHT, Executed, checkpoint, write

from abair_pl.errors import InputError, TrainingError
from abair_pl.modules.checkpoint_files import AtomicCheckpointIO, checkpoint_file, damage, keep_newest


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "a.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint(checkpoint(3), path)
    writer.save_checkpoint(checkpoint(4), path)
    read = writer.load_checkpoint(path)
    assert read["global_step"] == 4
    assert torch.equal(read["state_dict"]["weight"], WEIGHT)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.ckpt"]


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    """Nor where the caller allows it."""
    path = tmp_path / "sent.ckpt"
    torch.save({"state_dict": {}, "extra": Executed(tmp_path / "executed")}, path)
    with pytest.raises(InputError, match="no checkpoint of tensors and plain types"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not (tmp_path / "executed").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").exists(), "the file is what it should be"


def test_a_tensor_with_another_checksum_is_refused(tmp_path: Path) -> None:
    """One that was given by its path, and is not looked through before."""
    path = write(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[content.find(WEIGHT.numpy().tobytes()) + 500] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged.*checksum"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_a_missing_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint at .*none\.ckpt; expected a \.ckpt file, or --resume auto"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "none.ckpt")


def full(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def plain(stream: Any) -> None:
    raise full(errno.ENOSPC)


def quota(stream: Any) -> None:
    raise full(errno.EDQUOT)


def wrapped(stream: Any) -> None:
    message = "[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0"
    raise RuntimeError(message) from full(errno.ENOSPC)


def while_handling(stream: Any) -> None:
    try:
        raise full(errno.ENOSPC)
    except OSError:
        message = "[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0"
        raise RuntimeError(message)  # noqa: B904 - as torch does


def two_deep(stream: Any) -> None:
    try:
        while_handling(stream)
    except RuntimeError as error:
        message = "could not be written"
        raise RuntimeError(message) from error


@pytest.mark.parametrize("fail", [plain, quota, wrapped, while_handling, two_deep], ids=lambda each: each.__name__)
@pytest.mark.parametrize("before", [True, False])
def test_a_full_disk_is_said_wherever_it_is_in_the_chain(
    fail: Callable[[Any], None], before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before:
        write(tmp_path, 10)

    def save(content: Any, stream: Any) -> None:
        stream.write(b"half")
        fail(stream)

    monkeypatch.setattr(torch, "save", save)
    kept = r"the last one, step-000000010\.ckpt, is whole" if before else "there is none before it"
    with pytest.raises(TrainingError, match=rf"step-000000020\.ckpt could not be written \(the disk is full\); {kept}"):
        write(tmp_path, 20)
    assert [path.name for path in tmp_path.iterdir()] == (["step-000000010.ckpt"] if before else [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [(full(errno.EIO), os.strerror(errno.EIO)), (RuntimeError("two\nlines"), r"\(two lines\)")],
    ids=["input-output error", "torch's"],
)
def test_another_error_is_not_called_a_full_disk(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had the name before stays as it was."""
    path = write(tmp_path, 10)
    content = path.read_bytes()

    def save(*_: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(TrainingError, match=reason) as caught:
        AtomicCheckpointIO().save_checkpoint(checkpoint(11), path)
    assert "disk is full" not in str(caught.value)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"could not be written \(.*[Ff]ile"):
        AtomicCheckpointIO().save_checkpoint(checkpoint(), tmp_path / "file" / "step-000000001.ckpt")


@pytest.mark.parametrize("moment", ["written", "synced"])
def test_a_process_that_dies_while_it_writes_leaves_the_old_checkpoint(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the new one never has its name, and is removed with the next that is whole."""
    path = write(tmp_path, 10)
    content = path.read_bytes()
    save = torch.save

    def die(made: Any, stream: Any) -> None:
        save(made, stream)
        stream.flush()
        os._exit(9)

    if moment == "written":
        monkeypatch.setattr(torch, "save", die)
    else:
        monkeypatch.setattr(os, "fsync", lambda handle: os._exit(9))
    child = os.fork()
    if child == 0:
        write(tmp_path, 10)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.undo()
    assert path.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 2
    keep_newest(tmp_path, 1)
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder], capture_output=True, text=True, check=False
        )
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("room", "size"), [(20, 30), (0, 0), (1, 2)], ids=["large", "small", "rather small"])
def test_on_a_full_disk_the_last_checkpoint_stays(room: int, size: int, small_disk: Path) -> None:
    """Megabytes that are free, and that the next checkpoint takes."""
    before = write(small_disk, 10)
    with (small_disk / "others").open("wb", buffering=0) as stream:
        while (free := os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize) > room * 1_000_000:
            stream.write(bytes(min(free - room * 1_000_000, 1_000_000)))
    with pytest.raises(TrainingError, match=r"\(the disk is full\); the last one, step-000000010.ckpt, is whole"):
        AtomicCheckpointIO().save_checkpoint(checkpoint(20, size * 1_000_000), checkpoint_file(small_disk, 20))
    assert sorted(entry.name for entry in small_disk.iterdir()) == ["others", "step-000000010.ckpt"]
    assert damage(before) is None
    (small_disk / "others").unlink()
    assert damage(write(small_disk, 20)) is None
