import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abair_pl.data.manifest import Manifest, ShardEntry, count_samples, file_sha256
from abair_pl.data.streaming.sources import expand_shards
from abair_pl.errors import ShardError


@pytest.fixture
def manifest() -> Manifest:
    """Two shards, complete."""
    entries = [ShardEntry("a-000000.tar", 3, 2048, "00ff"), ShardEntry("a-000001.tar", 2, 1024, "11ff")]
    return Manifest("paired", "abcd", complete=True, shards=entries)


@pytest.fixture
def folder(tmp_path: Path, manifest: Manifest) -> Path:
    """A folder with the manifest and its (empty) shards."""
    manifest.write(tmp_path)
    for entry in manifest.shards:
        (tmp_path / entry.name).touch()
    return tmp_path


def _change(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_what_is_written_is_read(folder: Path, manifest: Manifest) -> None:
    assert Manifest.read(folder) == manifest
    assert manifest.samples == 5
    assert json.loads((folder / "manifest.json").read_text())["samples"] == 5
    assert not list(folder.glob("*.partial"))


def test_what_was_left_out_is_summed_over_shards(tmp_path: Path) -> None:
    shards = [ShardEntry("a", 1, 1, "00", too_small=2, broken=["x"]), ShardEntry("b", 1, 1, "00", 1, ["y", "z"])]
    Manifest("clean", "00", complete=True, shards=shards, dataset="div2k", found=8, expected=800).write(tmp_path)
    read = Manifest.read(tmp_path)
    assert (read.too_small, read.broken, read.dataset) == (3, ["x", "y", "z"], "div2k")
    assert (read.found, read.expected) == (8, 800)


def test_a_manifest_of_the_first_release_is_read(folder: Path, manifest: Manifest) -> None:
    def forget(values: dict[str, Any]) -> None:
        for name in ("dataset", "split", "found", "expected", "licence"):
            del values[name]
        for entry in values["shards"]:
            del entry["too_small"], entry["broken"]

    _change(folder, forget)
    assert Manifest.read(folder) == manifest


def test_a_missing_manifest_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"has no manifest\.json; make it with: abair-pl shards build"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"text"', "{}", '{"samples": 1, "shards": [1]}', '{"samples": 1, "shards": []}'],
)
def test_a_damaged_manifest_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ShardError, match=r"manifest\.json is damaged"):
        Manifest.read(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ShardError, match="is damaged"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("extra", [{}, {"new_field": 1}])
def test_another_version_is_refused_as_such(folder: Path, extra: dict[str, int]) -> None:
    _change(folder, lambda values: values.update(version=2, **extra))
    with pytest.raises(ShardError, match="has version 2; expected 1"):
        Manifest.read(folder)


def test_file_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"shard" * 1000)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"shard" * 1000).hexdigest()


def test_samples_are_counted_from_the_manifests(folder: Path) -> None:
    assert count_samples(expand_shards(str(folder))) == 5
    assert count_samples([str(folder / "a-000001.tar")]) == 2


def test_samples_of_an_unlisted_shard_are_not_counted(folder: Path) -> None:
    (folder / "b.tar").touch()
    with pytest.raises(ShardError, match=r"b\.tar is not in a complete manifest"):
        count_samples(expand_shards(str(folder)))


def test_samples_of_an_interrupted_build_are_not_counted(folder: Path) -> None:
    _change(folder, lambda values: values.update(complete=False))
    with pytest.raises(ShardError, match="finish with: abair-pl shards build"):
        count_samples(expand_shards(str(folder)))
