import io
import json
import os
import pickle
import re
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from abair_pl.cli import main
from abair_pl.data.decode import decode_sample
from abair_pl.data.manifest import Manifest, file_sha256
from abair_pl.data.shards import build
from abair_pl.data.shards.build import Selection, build_shards
from abair_pl.data.shards.listing import list_samples
from abair_pl.data.streaming.archive import read_samples
from abair_pl.errors import ImageError, InputError, ShardError

Picture = Callable[..., NDArray[np.uint8]]


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


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
def begun(pictures: Path, tmp_path: Path) -> Path:
    """The first and the third of four shards of a build that is not complete."""
    output = tmp_path / "begun" / "clean"
    build_shards(pictures, output, samples_per_shard=3, workers=1, part="1/2")
    return output


def test_the_manifest_is_true(clean_shards: Path) -> None:
    manifest = Manifest.read(clean_shards)
    assert manifest.complete
    assert (manifest.layout, manifest.dataset, manifest.split) == ("clean", "folder", "all")
    assert manifest.found == manifest.expected == manifest.samples == 12
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


@pytest.mark.parametrize(
    "changes",
    [{"samples_per_shard": 4}, {"shard_size_mb": 7}, {"selection": Selection(max_side_px=20)}, {"layout": "kodak24"}],
    ids=["samples", "megabytes", "side", "layout"],
)
def test_other_settings_in_the_same_output_are_refused(begun: Path, pictures: Path, changes: dict[str, Any]) -> None:
    before = _hashes(begun)
    settings = {"samples_per_shard": 3, "workers": 1, "allow_partial": True, **changes}
    with pytest.raises(ShardError, match="holds shards of other files or settings"):
        build_shards(pictures, begun, **settings)
    assert _hashes(begun) == before


def test_another_source_in_the_same_output_is_refused(begun: Path, pairs: Path) -> None:
    with pytest.raises(ShardError, match="holds shards of other files or settings"):
        build_shards(pairs, begun, samples_per_shard=3, workers=1)


def test_a_licence_goes_into_the_manifest_also_of_a_finished_build(
    clean_shards: Path, pictures: Path, tmp_path: Path
) -> None:
    assert Manifest.read(clean_shards).licence == "", "nobody said"
    build_shards(pictures, tmp_path / "out", workers=1)
    before = _hashes(tmp_path / "out")
    command = ["shards", "build", "--input", str(pictures), "--output", str(tmp_path / "out")]
    assert main([*command, "--licence", "CC0\n1.0", "--workers", "1"]) == 0
    assert Manifest.read(tmp_path / "out").licence == "CC0 1.0"
    after = _hashes(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {"manifest.json"}


def test_what_pairs_show_goes_into_the_manifest_also_of_a_finished_build(
    pairs: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["shards", "build", "--workers", "1", "--output", str(tmp_path / "out"), "--input"]
    for options, expected in (([], ""), (["--degradation", "sleet"], "sleet")):
        assert main([*command, str(pairs), "--layout", "paired", *options]) == 0
        assert Manifest.read(tmp_path / "out").degradation == expected
    assert main([*command, str(pictures), "--degradation", "sleet"]) == 2
    assert "layout folder has single photographs; expected one of pairs" in capsys.readouterr().err


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


@pytest.fixture
def own_pairs(pairs: Path, tmp_path: Path) -> Path:
    """A copy of the pairs that may be damaged."""
    return Path(shutil.copytree(pairs, tmp_path / "own"))


def test_unmatched_pairs_are_named(own_pairs: Path, picture: Picture, tmp_path: Path) -> None:
    _save(picture(9), own_pairs / "input" / "lonely.png")
    said = "expected 7 pairs, found 6: missing target/lonely; complete the folder, or accept it with --allow-partial"
    with pytest.raises(ShardError, match=re.escape(said)):
        build_shards(own_pairs, tmp_path / "out", layout="paired", workers=1)


def test_unmatched_pairs_can_be_left_out(
    own_pairs: Path, pair_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_pairs / "target" / "p2.png").unlink()
    manifest = build_shards(own_pairs, tmp_path / "out", layout="paired", workers=1, allow_partial=True)
    assert (manifest.found, manifest.expected, manifest.samples) == (5, 6, 5)
    assert "expected 6 pairs, found 5: missing target/p2" in capsys.readouterr().out
    assert _members(tmp_path / "out").keys() == _members(pair_shards).keys() - {"p2.input.png", "p2.target.png"}


def test_pairs_of_unequal_size_are_named(own_pairs: Path, picture: Picture, tmp_path: Path) -> None:
    _save(picture(9, 40, 32), own_pairs / "input" / "p4.png")
    said = r"input/p4\.png and .*target/p4\.png have different sizes \(32 x 40, 48 x 40\)"
    with pytest.raises(ShardError, match=said):
        build_shards(own_pairs, tmp_path / "out", layout="paired", workers=1)
    chosen = Selection(skip_broken=True)
    manifest = build_shards(own_pairs, tmp_path / "skipped", layout="paired", workers=1, selection=chosen)
    assert manifest.samples == 5
    assert len(manifest.broken) == 1
    assert "p4.png" in manifest.broken[0]


def _huge_png() -> bytes:
    """The beginning of a PNG of 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.fixture
def broken(pictures: Path, tmp_path: Path, encoded: Callable[..., bytes], picture: Picture) -> dict[str, Path]:
    """For each kind of damage, a folder of the 12 photographs and one more of it, ``bad.jpg`` or ``bad.png``."""
    jpeg = encoded(picture(20, 64, 64), "JPEG")
    files = {"truncated": jpeg[: len(jpeg) // 2], "empty": b"", "huge": _huge_png(), "text": b"not an image"}
    folders = {}
    for kind, data in files.items():
        folders[kind] = Path(shutil.copytree(pictures, tmp_path / kind))
        (folders[kind] / ("bad.png" if kind == "huge" else "bad.jpg")).write_bytes(data)
    return folders


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncated", r"bad\.jpg: not a readable image \(image file is truncated"),
        ("empty", r"bad\.jpg: not a readable image \(no known image format\)"),
        ("huge", r"bad\.png: more than 400 megapixels; expected at most 200 megapixels"),
        ("text", r"bad\.jpg: not a readable image \(no known image format\)"),
    ],
)
def test_a_broken_image_stops_the_build_or_is_left_out(
    broken: dict[str, Path], kind: str, said: str, tmp_path: Path, clean_shards: Path
) -> None:
    with pytest.raises(ImageError, match=said):
        build_shards(broken[kind], tmp_path / "stopped", workers=1)
    manifest = build_shards(broken[kind], tmp_path / "out", workers=1, selection=Selection(skip_broken=True))
    assert (manifest.samples, len(manifest.broken)) == (12, 1)
    assert re.search(said, manifest.broken[0])
    assert Manifest.read(tmp_path / "out") == manifest
    assert _members(tmp_path / "out") == _members(clean_shards)


def test_a_build_that_stopped_at_a_broken_image_goes_on_without_it(broken: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(ImageError):
        build_shards(broken["empty"], output, samples_per_shard=1, workers=1)
    manifest = build_shards(
        broken["empty"], output, samples_per_shard=1, workers=1, selection=Selection(skip_broken=True)
    )
    assert manifest.complete
    assert [entry.samples for entry in manifest.shards] == [0] + [1] * 12


def test_an_image_that_may_not_be_read_is_named(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError, match=r"p\d\d\.png: cannot be read .*Permission denied"):
        build_shards(pictures, tmp_path / "out", workers=1)


@pytest.mark.parametrize("name", ["MAX_MEMBER_BYTES", "MAX_SAMPLE_BYTES"])
def test_what_readers_would_refuse_for_its_size_is_not_built(
    own_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(build, name, 1000)
    sample = list_samples(own_pairs, "paired").samples[0]
    with pytest.raises(ShardError, match=r"input.*: a file of \d{4} bytes, a sample of \d+; readers expect at most"):
        build._content(Selection(), sample)
    assert build._render(Selection(skip_broken=True), sample).broken


def test_what_is_no_image_is_passed_over(pictures: Path, clean_shards: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(pictures, tmp_path / "source"))
    (source / "weights.pkl").write_bytes(pickle.dumps({"weights": [1.0]}))
    (source / "jpg").write_bytes(b"a file without suffix")
    (source / "._p01.png").write_bytes(b"what macOS leaves")
    (source / ".thumbnails").mkdir()
    shutil.copy(source / "p01.png", source / ".thumbnails")
    build_shards(source, tmp_path / "clean", samples_per_shard=3, workers=1)
    assert _hashes(tmp_path / "clean") == _hashes(clean_shards)


@pytest.fixture
def sizes(picture: Picture, tmp_path: Path) -> Path:
    """Photographs of 30 x 40, 60 x 80 and 300 x 90 pixels, the last a JPEG."""
    source = tmp_path / "sizes"
    _save(picture(0, 30, 40), source / "small.png")
    _save(picture(1, 60, 80), source / "middle.bmp")
    _save(picture(2, 300, 90), source / "tall.jpg")
    return source


def test_small_images_are_left_out_and_counted(sizes: Path, tmp_path: Path) -> None:
    manifest = build_shards(sizes, tmp_path / "out", workers=1, selection=Selection(min_side_px=31))
    assert (manifest.samples, manifest.too_small, manifest.found) == (2, 1, 3)
    assert _members(tmp_path / "out") == {name: (sizes / name).read_bytes() for name in ("middle.bmp", "tall.jpg")}


def test_large_images_are_scaled_and_others_pass_untouched(sizes: Path, tmp_path: Path) -> None:
    build_shards(sizes, tmp_path / "out", workers=1, selection=Selection(max_side_px=60))
    members = _members(tmp_path / "out")
    assert members.keys() == {"small.png", "middle.png", "tall.jpg"}
    assert members["small.png"] == (sizes / "small.png").read_bytes()
    with Image.open(io.BytesIO(members["middle.png"])) as middle, Image.open(io.BytesIO(members["tall.jpg"])) as tall:
        assert (middle.size, middle.format) == ((60, 45), "PNG")
        assert (tall.size, tall.format) == ((18, 60), "JPEG")


def test_the_least_side_is_that_in_the_shard(sizes: Path, tmp_path: Path) -> None:
    manifest = build_shards(sizes, tmp_path / "out", workers=1, selection=Selection(min_side_px=20, max_side_px=60))
    assert (manifest.samples, manifest.too_small) == (2, 1)
    assert "tall.jpg" not in _members(tmp_path / "out")


def test_a_build_that_leaves_nothing_is_refused(sizes: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"none of the 3 samples .* is left; expected some: lower --min-side-px"):
        build_shards(sizes, tmp_path / "out", workers=1, selection=Selection(min_side_px=4000))


def test_the_two_of_a_pair_are_scaled_alike(own_pairs: Path, tmp_path: Path) -> None:
    build_shards(own_pairs, tmp_path / "out", layout="paired", workers=1, selection=Selection(max_side_px=24))
    for sample in read_samples([str(tmp_path / "out" / "out-000000.tar")]):
        decoded = decode_sample(sample)
        assert decoded["input"].shape == decoded["target"].shape == (20, 24, 3)
        negative = 255 - decoded["input"].astype(int)
        assert np.abs(negative - decoded["target"]).max() <= 1


@pytest.fixture
def with_depth(picture: Picture, tmp_path: Path) -> Path:
    """Two photographs, ``a.v1.jpg`` with 16-bit depth that falls from left to right, ``b.png`` without."""
    source = tmp_path / "with_depth" / "sub"
    _save(picture(0), source / "a.v1.jpg")
    _save(picture(1), source / "b.png")
    Image.fromarray(np.tile(np.linspace(65535, 0, 48).astype(np.uint16), (40, 1))).save(source / "a.v1.depth.png")
    return source


def test_depth_goes_with_its_photograph(with_depth: Path, tmp_path: Path) -> None:
    manifest = build_shards(with_depth.parent, tmp_path / "out", workers=1)
    assert manifest.samples == 2
    members = _members(tmp_path / "out")
    assert members["sub__a_v1.depth.png"] == (with_depth / "a.v1.depth.png").read_bytes()
    assert members.keys() == {"sub__a_v1.jpg", "sub__a_v1.depth.png", "sub__b.png"}


def test_depth_is_scaled_with_its_photograph(with_depth: Path, tmp_path: Path) -> None:
    build_shards(with_depth, tmp_path / "out", workers=1, selection=Selection(max_side_px=12))
    first, _ = (decode_sample(sample) for sample in read_samples([str(tmp_path / "out" / "out-000000.tar")]))
    assert first["image"].shape == (10, 12, 3)
    assert first["depth"].shape == (10, 12)
    assert np.allclose(first["depth"][0], np.linspace(1, 0, 48).reshape(12, 4).mean(axis=1), atol=1e-3)


def test_depth_of_another_size_or_of_nothing_is_refused(with_depth: Path, picture: Picture, tmp_path: Path) -> None:
    depth = with_depth / "a.v1.depth.png"
    _save(picture(0)[..., 0], depth.with_name("c.depth.png"))
    with pytest.raises(ShardError, match=r"c\.depth\.png has no photograph of its name beside it"):
        build_shards(with_depth, tmp_path / "out", workers=1)
    depth.with_name("c.depth.png").unlink()
    _save(picture(0, 20, 48)[..., 0], depth)
    with pytest.raises(ShardError, match=r"a\.v1\.jpg and .*a\.v1\.depth\.png have different sizes"):
        build_shards(with_depth, tmp_path / "out", workers=1)
    _save(picture(0), depth)
    with pytest.raises(ImageError, match=r"a\.v1\.depth\.png: an image of mode RGB; expected depth as grey"):
        build_shards(with_depth, tmp_path / "out", workers=1)


def test_shards_end_before_they_are_too_large(pictures: Path, tmp_path: Path, picture: Picture) -> None:
    source = tmp_path / "source"
    for index in range(5):
        _save(picture(index, 400, 400), source / f"{index}.bmp")  # of 480,054 bytes
    manifest = build_shards(source, tmp_path / "out", workers=1, shard_size_mb=1)
    assert [entry.samples for entry in manifest.shards] == [2, 2, 1]


def test_wrong_sources_and_numbers_are_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    output = tmp_path / "out"
    with pytest.raises(ShardError, match="has no images"):
        build_shards(tmp_path / "empty", output)
    with pytest.raises(ShardError, match="is not a folder"):
        build_shards(tmp_path / "missing", output)
    with pytest.raises(ShardError, match=r"has 12 images, none where paired \(all\) has them"):
        build_shards(pictures, output, layout="paired")
    with pytest.raises(InputError, match=r"unknown layout 'kodak'.*did you mean 'kodak24'"):
        build_shards(pictures, output, layout="kodak")
    with pytest.raises(InputError, match="unknown split of gopro 'val'; expected one of: train, test"):
        build_shards(pictures, output, layout="gopro", split="val")
    with pytest.raises(ShardError, match="samples_per_shard is 0; expected at least 1"):
        build_shards(pictures, output, samples_per_shard=0)
    with pytest.raises(ShardError, match="max_side_px is -3; expected at least 1"):
        build_shards(pictures, output, selection=Selection(max_side_px=-3))
    with pytest.raises(InputError, match="workers is -1"):
        build_shards(pictures, output, workers=-1)
    for part in ("0/3", "4/3", "1", "a/b", "1/3/5"):
        with pytest.raises(ShardError, match=f"part is '{part}'; expected its number and how many there are"):
            build_shards(pictures, tmp_path / "parts", part=part)
    assert not (tmp_path / "parts").exists()


def test_a_manifest_is_plain_json_of_known_keys(clean_shards: Path) -> None:
    values = json.loads((clean_shards / "manifest.json").read_text())
    origin = {"dataset", "split", "found", "expected", "licence", "degradation"}
    assert values.keys() == {"layout", "source_sha256", "complete", "shards", "version", "samples", *origin}
