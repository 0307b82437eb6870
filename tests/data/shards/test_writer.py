import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abair_pl.atomic import locked
from abair_pl.data.manifest import Manifest, file_sha256
from abair_pl.data.shards import writer
from abair_pl.data.shards.build import build_shards
from abair_pl.data.shards.writer import Content, Part, write_shards
from abair_pl.errors import AbairError, ShardError

PHOTOGRAPHS = 200
KILLS = 10


def _hashes(folder: Path) -> dict[str, str]:
    """All that is in a folder: of hidden files and folders too."""
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 photographs that take long enough to check for a build to be killed in between."""
    folder = tmp_path_factory.mktemp("many")
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    for index in range(PHOTOGRAPHS):
        Image.fromarray(np.roll(noise, index, axis=1)).save(folder / f"p{index:03d}.jpg", quality=95)
    return folder


def test_a_build_that_is_killed_ten_times_ends_as_one_that_is_not(many: Path, tmp_path: Path) -> None:
    build_shards(many, tmp_path / "whole" / "shards", samples_per_shard=2, workers=2)
    output = tmp_path / "killed" / "shards"
    command = [sys.executable, "-m", "abair_pl.cli", "shards", "build", "--input", str(many), "--output", str(output)]
    command += ["--samples-per-shard", "2", "--workers", "2"]
    moments = random.Random(7)
    whole = _hashes(tmp_path / "whole" / "shards")
    written: list[Path] = []
    amid_shard = 0
    for kill in range(KILLS):
        goal = len(written) + moments.randint(1, 5) if kill else 0
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(output.glob("*.tar"))) < goal:
                time.sleep(0.002)
            time.sleep(moments.uniform(0.0, 0.005) if kill else 0.2)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "the build was done before it was killed"
        amid_shard += any(output.glob(".*.tar.*.partial"))
        written = sorted(output.glob("*.tar"))
        assert all(file_sha256(path) == whole[path.name] for path in written)
        assert not output.exists() or not Manifest.read(output).complete
    assert 5 < len(written) < PHOTOGRAPHS / 2
    assert amid_shard > KILLS / 2
    kept = {path: path.stat().st_mtime_ns for path in written}
    subprocess.run(command, check=True, capture_output=True)
    assert _hashes(output) == whole
    rewritten = [path for path, changed in kept.items() if path.stat().st_mtime_ns != changed]
    assert len(rewritten) <= 4, "the last build began again"  # those that were not noted yet, or written meanwhile


def test_workers_end_when_their_parent_is_killed(many: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "abair_pl.cli", "shards", "build", "--input", str(many), "--workers", "2"]
    command += ["--output", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(tmp_path.glob("out/.*.partial")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    for _ in range(200):
        try:
            os.killpg(process.pid, 0)  # the group is gone with its last process
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("workers outlived their parent by ten seconds")


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_in_any_order_make_what_a_single_build_makes(
    pictures: Path, clean_shards: Path, tmp_path: Path, order: tuple[int, ...]
) -> None:
    output = tmp_path / "clean"
    for done, number in enumerate(order):
        assert not done or not Manifest.read(output).complete
        manifest = build_shards(pictures, output, samples_per_shard=3, workers=1, part=f"{number}/3")
    assert manifest.complete
    assert _hashes(output) == _hashes(clean_shards)


def test_parts_at_the_same_time_make_what_a_single_build_makes(
    pictures: Path, clean_shards: Path, tmp_path: Path
) -> None:
    output = tmp_path / "clean"
    base = [sys.executable, "-m", "abair_pl.cli", "shards", "build", "--input", str(pictures), "--output", str(output)]
    base += ["--samples-per-shard", "3", "--workers", "1"]
    running = [subprocess.Popen([*base, "--part", f"{number}/3"], stderr=subprocess.PIPE) for number in (1, 2, 3)]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert _hashes(output) == _hashes(clean_shards)


def test_a_part_waits_while_another_completes_the_manifest(pictures: Path, clean_shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean"
    with ThreadPoolExecutor() as pool:
        with locked(output, tidy=True):
            late = pool.submit(build_shards, pictures, output, samples_per_shard=3, workers=1, part="1/3")
            with pytest.raises(FutureTimeoutError):
                late.result(timeout=0.3)
            assert [path.name for path in output.iterdir()] == [".lock"]
            shutil.copytree(clean_shards, output, dirs_exist_ok=True)
        assert late.result(timeout=60).complete
    assert _hashes(output) == _hashes(clean_shards)


def test_the_manifest_is_claimed_and_finished_under_the_lock(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "clean"
    held: list[str] = []

    def watch(name: str) -> None:
        original = getattr(writer, name)

        def check(*arguments: object) -> object:
            with pytest.raises(BlockingIOError), locked(output, wait=False):
                pass
            held.append(name)
            return original(*arguments)

        monkeypatch.setattr(writer, name, check)

    watch("_claim")
    watch("_finish")
    build_shards(pictures, output, workers=1)
    assert held == ["_claim", "_finish"]
    assert not (output / ".lock").exists()


def test_the_lock_of_a_killed_build_stays_in_nobodys_way(pictures: Path, clean_shards: Path, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / ".lock").touch()
    build_shards(pictures, tmp_path / "clean", samples_per_shard=3, workers=1)
    assert _hashes(tmp_path / "clean") == _hashes(clean_shards)


def test_more_parts_than_shards_leave_some_without_work(pictures: Path, clean_shards: Path, tmp_path: Path) -> None:
    for number in range(1, 7):
        build_shards(pictures, tmp_path / "clean", samples_per_shard=3, workers=1, part=f"{number}/6")
    assert _hashes(tmp_path / "clean") == _hashes(clean_shards)


def test_a_build_goes_on_with_what_parts_have_written(pictures: Path, clean_shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean"
    build_shards(pictures, output, samples_per_shard=3, workers=1, part="2/2")
    kept = {path: path.stat().st_mtime_ns for path in output.glob("*.tar")}
    assert len(kept) == 2
    build_shards(pictures, output, samples_per_shard=3, workers=1)
    assert _hashes(output) == _hashes(clean_shards)
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())


@pytest.fixture
def copied(clean_shards: Path, tmp_path: Path) -> Path:
    """A copy of four finished shards."""
    return Path(shutil.copytree(clean_shards, tmp_path / "clean"))


def test_a_finished_build_is_not_read_again(pictures: Path, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        message = f"{path} was read"
        raise AssertionError(message)

    monkeypatch.setattr(writer, "file_sha256", refuse)
    assert build_shards(pictures, copied, samples_per_shard=3, workers=1).complete


@pytest.mark.parametrize("damage", ["lost", "cut short", "grown"])
def test_a_shard_of_another_size_is_built_again(pictures: Path, copied: Path, clean_shards: Path, damage: str) -> None:
    shard = copied / "clean-000002.tar"
    if damage == "lost":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-512] if damage == "cut short" else shard.read_bytes() + bytes(512))
    build_shards(pictures, copied, samples_per_shard=3, workers=1)
    assert _hashes(copied) == _hashes(clean_shards)


def test_a_shard_that_is_not_noted_is_built_again(pictures: Path, clean_shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean"
    build_shards(pictures, output, samples_per_shard=3, workers=1, part="1/2")
    shard = output / "clean-000001.tar"
    shard.write_bytes(b"whole, but killed before it was noted; or someone's own")
    build_shards(pictures, output, samples_per_shard=3, workers=1)
    assert _hashes(output) == _hashes(clean_shards)


def test_half_a_line_in_a_journal_spoils_no_other(pictures: Path, clean_shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "clean"
    build_shards(pictures, output, samples_per_shard=3, workers=1, part="1/2")
    (journal,) = (output / ".build").iterdir()
    lines = {json.loads(line)[1]["name"]: line for line in journal.read_text().splitlines() if line}
    journal.write_text(lines["clean-000002.tar"] + "\n" + lines["clean-000000.tar"][:40])
    build_shards(pictures, output, samples_per_shard=3, workers=1, part="1/2")
    build_shards(pictures, output, samples_per_shard=3, workers=1, part="2/2")
    assert _hashes(output) == _hashes(clean_shards)


def test_a_shard_that_is_built_again_of_other_pixels_is_noted_as_it_is(tmp_path: Path) -> None:
    source, output = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for color in ("teal", "coral"):  # files of equal names and sizes
        Image.new("RGB", (20, 20), color).save(source / "a.bmp")
        build_shards(source, output, workers=1)
        (shard,) = output.glob("*.tar")
        (entry,) = Manifest.read(output).shards
        assert entry.sha256 == file_sha256(shard)
        shard.unlink()


def test_half_written_shards_are_removed_and_have_no_final_name(
    pictures: Path, clean_shards: Path, tmp_path: Path
) -> None:
    output = tmp_path / "clean"
    build_shards(pictures, output, samples_per_shard=3, workers=1, part="1/2")
    (output / f".clean-000001.tar.{'0' * 32}.partial").write_bytes(b"half a shard")
    (output / f".manifest.json.{'1' * 32}.partial").write_bytes(b"{")
    build_shards(pictures, output, samples_per_shard=3, workers=1)
    assert _hashes(output) == _hashes(clean_shards)


def _fail(item: int) -> Content:
    if item == 3:
        message = "item 3 is broken"
        raise ShardError(message)
    return Content([(f"{item}.txt", b"text")])


def _die(item: int) -> Content:
    os.kill(os.getpid(), signal.SIGKILL)
    return Content()


def _header(name: str = "x") -> Manifest:
    return Manifest("clean", hashlib.sha256(name.encode()).hexdigest(), complete=False)


def test_a_failure_leaves_no_half_of_a_shard(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="item 3 is broken"):
        write_shards(tmp_path / "out", [[1], [2, 3]], _fail, _header(), workers=1)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names <= {"manifest.json", "out-000000.tar", ".build"}
    assert not Manifest.read(tmp_path / "out").complete


def test_a_worker_that_is_killed_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(AbairError, match=r"a worker process was killed.*fewer --workers"):
        write_shards(tmp_path / "out", [[1]], _die, _header(), workers=1)


def test_an_output_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(AbairError, match="cannot be written"):
        write_shards(tmp_path / "file", [[1]], _fail, _header(), workers=1)


def test_a_build_without_shards_yet_gives_way_to_another(tmp_path: Path) -> None:
    with pytest.raises(ShardError):
        write_shards(tmp_path / "out", [[3]], _fail, _header("broken"), workers=1)
    assert write_shards(tmp_path / "out", [[1]], _fail, _header("mended"), workers=1).complete


def test_the_manifest_of_a_part_tells_of_its_shards(tmp_path: Path) -> None:
    part = write_shards(tmp_path / "out", [[1], [2]], _fail, _header(), workers=1, part=Part(2, 2))
    assert [entry.name for entry in part.shards] == ["out-000001.tar"]
    assert Manifest.read(tmp_path / "out") == replace(_header())
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["complete"] is False
