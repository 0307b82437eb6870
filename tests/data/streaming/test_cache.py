import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest

from abair_pl.data.streaming.cache import ShardCache
from abair_pl.errors import ShardError

KB = 1e-6  # in gigabytes


def _write(url: str, target: IO[bytes]) -> None:
    """A download of a thousand bytes."""
    target.write(url[-1].encode() * 1000)


def _read(cache: ShardCache, url: str) -> bytes:
    with cache.open(url, _write) as file:
        return file.read()


def _kept(folder: Path) -> list[str]:
    return sorted(path.read_text()[0] for path in folder.glob("*.tar"))


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 2.5 * KB)
    for url in ("a", "b", "a", "c"):
        assert _read(cache, url) == url.encode() * 1000
    assert _kept(tmp_path) == ["a", "c"]


def test_without_a_limit_all_are_kept(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path)
    for url in "abcd":
        _read(cache, url)
    assert _kept(tmp_path) == ["a", "b", "c", "d"]


def test_one_that_is_open_is_not_removed(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1.5 * KB)
    with cache.open("a", _write) as file:
        _read(ShardCache(tmp_path, 1.5 * KB), "b")
        assert "a" in _kept(tmp_path)
        assert file.read() == b"a" * 1000
    _read(cache, "c")
    assert _kept(tmp_path) == ["c"]


def test_a_failed_download_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def fail(url: str, target: IO[bytes]) -> None:
        target.write(b"half")
        raise ShardError(url)

    cache = ShardCache(tmp_path)
    with pytest.raises(ShardError, match="a"), cache.open("a", fail):
        pass
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []
    assert _read(cache, "a") == b"a" * 1000


def test_what_a_killed_download_left_is_overwritten(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path)
    _read(cache, "a")
    (path,) = tmp_path.glob("*.tar")
    path.rename(path.with_suffix(".partial"))
    path.with_suffix(".partial").write_bytes(bytes(5000))
    assert _read(cache, "a") == b"a" * 1000


def test_what_a_killed_download_left_goes_when_the_limit_is_kept(tmp_path: Path) -> None:
    (tmp_path / "0123.partial").write_bytes(bytes(5000))
    _read(ShardCache(tmp_path), "a")
    assert (tmp_path / "0123.partial").exists()
    _read(ShardCache(tmp_path, 2.5 * KB), "b")
    assert not list(tmp_path.glob("*.partial"))
    assert _kept(tmp_path) == ["a", "b"]


def test_what_is_being_downloaded_stays_and_counts(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 2.5 * KB)
    _read(cache, "a")

    def meanwhile(url: str, target: IO[bytes]) -> None:
        _write(url, target)
        target.flush()
        _read(cache, "c")
        assert _kept(tmp_path) == ["c"]
        assert len(list(tmp_path.glob("*.partial"))) == 1

    with cache.open("b", meanwhile) as file:
        assert file.read() == b"b" * 1000
    assert _kept(tmp_path) == ["b", "c"]


def test_addresses_of_one_file_name_are_told_apart(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path)
    assert _read(cache, "https://x/1/s.tar?a") != _read(cache, "https://x/2/s.tar?b")


def test_threads_wait_for_the_one_that_downloads(tmp_path: Path) -> None:
    downloads: list[str] = []
    started = threading.Event()

    def slow(url: str, target: IO[bytes]) -> None:
        downloads.append(url)
        started.wait(0.3)
        _write(url, target)

    def use() -> None:
        with ShardCache(tmp_path).open("a", slow) as file:
            assert file.read() == b"a" * 1000

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert downloads == ["a"]


def test_two_processes_share_a_folder_and_its_limit(tmp_path: Path) -> None:
    """Both read five shards again and again through a cache of three: each read is whole, the limit is kept."""
    program = f"""
import sys, time
from pathlib import Path
from abair_pl.data.streaming.cache import ShardCache

def write(url, target):
    for _ in range(10):
        target.write(url.encode() * 100)
        target.flush()
        time.sleep(0.001)

cache = ShardCache(Path({str(tmp_path)!r}), {3.5 * KB})
for turn in range(60):
    url = "abcde"[(turn * int(sys.argv[1])) % 5]
    with cache.open(url, write) as file:
        assert file.read() == url.encode() * 1000, url
"""
    running = [
        subprocess.Popen([sys.executable, "-c", program, step], stderr=subprocess.PIPE, text=True) for step in "23"
    ]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    _read(ShardCache(tmp_path, 3.5 * KB), "f")
    assert len(_kept(tmp_path)) == 3
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ShardError, match=r"file cannot hold downloaded shards .*; choose another --data\.cache_dir"):
        ShardCache(tmp_path / "file")
