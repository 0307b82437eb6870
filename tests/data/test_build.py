import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from abair_pl.data.build import build_shards
from abair_pl.data.manifest import Manifest, file_sha256
from abair_pl.data.streaming import read_samples
from abair_pl.errors import ImageError, ShardError

Picture = Callable[..., NDArray[np.uint8]]


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


def _save(pixels: NDArray[np.uint8], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _members(folder: Path) -> dict[str, bytes]:
    """Every member of every shard."""
    members: dict[str, bytes] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            for entry in archive:
                data = archive.extractfile(entry)
                assert data is not None
                assert (entry.mtime, entry.uid, entry.gid, entry.uname) == (0, 0, 0, "")
                members[entry.name] = data.read()
    return members


@pytest.fixture
def damaged(clean_shards: Path, tmp_path: Path) -> Path:
    """A copy of the shards as an interruption would leave it: two lost, others half-written, not complete."""
    output = tmp_path / "clean"
    shutil.copytree(clean_shards, output)
    for index in (1, 3):
        (output / f"clean-00000{index}.tar").unlink()
    for index in (0, 1, 9):
        (output / f"clean-00000{index}.tar.partial").write_bytes(b"half a shard")
    replace(Manifest.read(output), complete=False, shards=[]).write(output)
    return output


def test_the_manifest_is_true(clean_shards: Path) -> None:
    manifest = Manifest.read(clean_shards)
    assert manifest.complete
    assert manifest.layout == "clean"
    assert [entry.name for entry in manifest.shards] == [f"clean-00000{index}.tar" for index in range(4)]
    for entry in manifest.shards:
        path = clean_shards / entry.name
        assert (entry.samples, entry.size_bytes, entry.sha256) == (3, path.stat().st_size, file_sha256(path))


def test_images_pass_through_byte_for_byte(clean_shards: Path, pictures: Path) -> None:
    assert _members(clean_shards) == {path.name: path.read_bytes() for path in sorted(pictures.iterdir())}


def test_two_builds_are_equal_whatever_the_times_and_workers(
    clean_shards: Path, pictures: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sorted(pictures.iterdir(), reverse=True):
        shutil.copy(path, copy)
        os.utime(copy / path.name, (1, 1))
    build_shards(copy, tmp_path / "clean", samples_per_shard=3, workers=2)
    assert _hashes(tmp_path / "clean") == _hashes(clean_shards)


def test_an_interrupted_build_goes_on_to_the_same_result(damaged: Path, clean_shards: Path, pictures: Path) -> None:
    kept = (damaged / "clean-000000.tar").stat().st_mtime_ns
    manifest = build_shards(pictures, damaged, samples_per_shard=3, workers=1)
    assert manifest == Manifest.read(clean_shards)
    assert _hashes(damaged) == _hashes(clean_shards)
    assert (damaged / "clean-000000.tar").stat().st_mtime_ns == kept


def test_a_build_that_fails_can_be_repeated(pictures: Path, clean_shards: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "source", tmp_path / "clean"
    shutil.copytree(pictures, source)
    whole = (source / "p07.png").read_bytes()
    (source / "p07.png").write_bytes(bytes(len(whole)))
    with pytest.raises(ImageError, match=r"p07\.png: not a readable image"):
        build_shards(source, output, samples_per_shard=3, workers=1)
    assert not Manifest.read(output).complete
    (source / "p07.png").write_bytes(whole)
    build_shards(source, output, samples_per_shard=3, workers=1)
    assert _hashes(output) == _hashes(clean_shards)


@pytest.mark.parametrize("samples_per_shard", [3, 4])
def test_another_source_or_setting_in_the_same_output_is_refused(
    damaged: Path, pictures: Path, pairs: Path, samples_per_shard: int
) -> None:
    source = pictures if samples_per_shard == 4 else pairs
    with pytest.raises(ShardError, match="holds shards of other files or settings"):
        build_shards(source, damaged, samples_per_shard=samples_per_shard, workers=1)
    assert (damaged / "clean-000000.tar").exists()


def test_shards_without_manifest_are_not_overwritten(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "out-000000.tar").write_bytes(b"someone else's")
    with pytest.raises(ShardError):
        build_shards(pictures, tmp_path, workers=1)
    assert (tmp_path / "out-000000.tar").read_bytes() == b"someone else's"


def test_pairs_lie_together_under_one_key(pair_shards: Path, pairs: Path) -> None:
    assert Manifest.read(pair_shards).layout == "paired"
    samples = list(read_samples([str(path) for path in sorted(pair_shards.glob("*.tar"))]))
    assert [sample["__key__"] for sample in samples] == [f"p{index}" for index in range(6)]
    for sample in samples:
        for role in ("input", "target"):
            assert sample[f"{role}.png"] == (pairs / role / f"{sample['__key__']}.png").read_bytes()


def test_subfolders_dots_and_suffixes_become_keys(picture: Picture, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("a/b/one.JPG", "a/two.v1.png", "three.webp"):
        _save(picture(0), source / name)
    (source / "notes.txt").write_text("not an image")
    build_shards(source, tmp_path / "out", workers=1)
    samples = {sample["__key__"]: set(sample) for sample in read_samples([str(tmp_path / "out/out-000000.tar")])}
    assert samples.keys() == {"a__b__one", "a__two_v1", "three"}
    assert "jpg" in samples["a__b__one"]


@pytest.mark.parametrize("name", ["x" * 120 + ".png", "deep/" * 20 + "photo.png", "été/日本.png"])
def test_long_and_foreign_names_survive(picture: Picture, tmp_path: Path, name: str) -> None:
    _save(picture(0), tmp_path / "source" / name)
    build_shards(tmp_path / "source", tmp_path / "out", workers=1)
    (sample,) = read_samples([str(tmp_path / "out/out-000000.tar")])
    assert sample["__key__"] == name.removesuffix(".png").replace("/", "__")


@pytest.mark.parametrize(
    "names", [("a/b.png", "a__b.png"), ("x.png", "x.jpg"), ("v.1.png", "v_1.png")], ids=["folder", "suffix", "dot"]
)
def test_colliding_names_are_both_named(picture: Picture, tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        _save(picture(0), tmp_path / "source" / name)
    with pytest.raises(ShardError, match="would both be sample") as error:
        build_shards(tmp_path / "source", tmp_path / "out", workers=1)
    assert all(str(tmp_path / "source" / name) in str(error.value) for name in names)


def test_unmatched_pairs_are_named(pairs: Path, picture: Picture, tmp_path: Path) -> None:
    source = tmp_path / "pairs"
    shutil.copytree(pairs, source)
    _save(picture(9), source / "input" / "lonely.png")
    with pytest.raises(ShardError, match="1 images have no partner of the same stem, such as 'lonely'"):
        build_shards(source, tmp_path / "out", layout="paired", workers=1)


def test_pairs_of_unequal_size_are_named(pairs: Path, picture: Picture, tmp_path: Path) -> None:
    source = tmp_path / "pairs"
    shutil.copytree(pairs, source)
    _save(picture(9, 40, 32), source / "input" / "p4.png")
    with pytest.raises(ShardError, match=r"p4\.png and its target have different sizes .*\(40, 32\)"):
        build_shards(source, tmp_path / "out", layout="paired", workers=1)


def test_wrong_sources_and_numbers_are_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match="has no images"):
        build_shards(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ShardError, match="is not a folder"):
        build_shards(tmp_path / "missing", tmp_path / "out")
    with pytest.raises(ShardError, match="is not a folder"):
        build_shards(pictures, tmp_path / "out", layout="paired")
    with pytest.raises(ShardError, match="samples_per_shard is 0; expected at least 1"):
        build_shards(pictures, tmp_path / "out", samples_per_shard=0)
    assert not (tmp_path / "out").exists()


def test_a_manifest_is_plain_json_of_known_keys(clean_shards: Path) -> None:
    values = json.loads((clean_shards / "manifest.json").read_text())
    assert values.keys() == {"layout", "source_sha256", "complete", "shards", "version", "samples"}
