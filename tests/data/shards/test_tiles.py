import io
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from abair_pl.cli import main
from abair_pl.data.decode import decode_sample
from abair_pl.data.manifest import Manifest, file_sha256
from abair_pl.data.shards.build import Selection, build_shards
from abair_pl.data.shards.tiles import Tiling, encode_tile
from abair_pl.data.shards.verify import verify_shards
from abair_pl.data.streaming.archive import read_samples
from abair_pl.data.streaming.sources import expand_shards
from abair_pl.errors import ImageError, InputError, ShardError

Picture = Callable[..., NDArray[np.uint8]]
TILED = Selection(tiling=Tiling(24, 8))  # of 40 x 48 pixels: rows from 0 and 16, columns from 0, 12 and 24


def _decoded(folder: Path) -> dict[str, dict[str, NDArray[np.generic]]]:
    samples = (decode_sample(sample) for sample in read_samples(expand_shards(str(folder))))
    return {sample["key"]: sample for sample in samples}


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(2, 700), st.floats(0.0, 0.99))
def test_tiles_cover_every_pixel_and_overlap(height: int, width: int, tile: int, share: float) -> None:
    tiling = Tiling(tile, int(share * tile) if share * tile < tile else tile - 1)
    if max(height, width) > 40 * (tile - tiling.overlap_px):
        return
    corners = tiling.corners((height, width))
    assert corners == sorted(set(corners))
    for side, starts in ((height, {top for top, _ in corners}), (width, {left for _, left in corners})):
        ordered = sorted(starts)
        assert ordered[0] == 0
        assert ordered[-1] == max(side - tile, 0), "the last tile ends at the edge"
        steps = np.diff(ordered)
        assert (steps <= tile - tiling.overlap_px).all(), "neighbours overlap by at least so much"
        assert len(ordered) == 1 or side > tile
        assert (len(ordered) - 2) * (tile - tiling.overlap_px) < max(side - tile, 1), "no more than are needed"


@pytest.mark.parametrize("numbers", [(0, 0), (-4, 0), (8, 8), (8, -1)])
def test_impossible_tiles_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"tile_(overlap_)?px is -?\d; expected"):
        Tiling(*numbers)


def test_tiles_are_stored_without_loss(picture: Picture) -> None:
    data, suffix = encode_tile(picture(0))
    with Image.open(io.BytesIO(data)) as image:
        assert (suffix, image.format) == ("bmp", "BMP")
        assert np.array_equal(np.asarray(image), picture(0))
    depth = np.linspace(0.0, 1.0, 12, dtype=np.float32).reshape(3, 4)
    for given_depth in (depth, np.round(depth * 65535).astype(np.uint16)):
        data, suffix = encode_tile(given_depth)
        with Image.open(io.BytesIO(data)) as image:
            assert (suffix, image.format) == ("png", "PNG")
            assert np.array_equal(np.asarray(image), np.round(depth * 65535))


def test_each_tile_is_a_sample_of_the_photograph(pictures: Path, picture: Picture, tmp_path: Path) -> None:
    manifest = build_shards(pictures, tmp_path / "out", samples_per_shard=5, workers=1, selection=TILED)
    assert [entry.samples for entry in manifest.shards] == [30, 30, 12]
    assert (manifest.samples, manifest.found, manifest.expected) == (72, 12, 12)
    samples = _decoded(tmp_path / "out")
    names = [f"p{n:02d}-{top:04d}-{left:04d}" for n in range(12) for top in (0, 16) for left in (0, 12, 24)]
    assert list(samples) == names
    assert np.array_equal(samples["p03-0016-0012"]["image"], picture(3)[16:40, 12:36])
    assert verify_shards(tmp_path / "out", workers=1) == manifest


def test_a_small_photograph_is_one_tile(pictures: Path, picture: Picture, tmp_path: Path) -> None:
    build_shards(pictures, tmp_path / "out", workers=1, selection=Selection(tiling=Tiling(64, 0)))
    samples = _decoded(tmp_path / "out")
    assert len(samples) == 12
    assert np.array_equal(samples["p05-0000-0000"]["image"], picture(5))


def test_pairs_are_scaled_and_cut_alike(pairs: Path, tmp_path: Path) -> None:
    chosen = Selection(max_side_px=36, tiling=Tiling(16, 4))
    manifest = build_shards(pairs, tmp_path / "out", layout="paired", workers=1, selection=chosen)
    assert (manifest.layout, manifest.samples) == ("paired", 6 * 3 * 3)  # of 30 x 36 pixels
    for key, sample in _decoded(tmp_path / "out").items():
        assert sample["input"].shape == sample["target"].shape == (16, 16, 3), key
        negative = 255 - sample["input"].astype(int)
        assert np.abs(negative - sample["target"].astype(int)).max() <= 1
    verify_shards(tmp_path / "out", workers=1)


def test_depth_is_cut_with_its_photograph(picture: Picture, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    Image.fromarray(picture(0)).save(source / "a.png")
    depth = np.random.default_rng(1).integers(0, 65536, (40, 48)).astype(np.uint16)
    Image.fromarray(depth).save(source / "a.depth.png")
    build_shards(source, tmp_path / "out", workers=1, selection=TILED)
    tile = _decoded(tmp_path / "out")["a-0016-0024"]
    assert np.array_equal(tile["image"], picture(0)[16:40, 24:48])
    assert np.array_equal(np.round(tile["depth"] * 65535), depth[16:40, 24:48])
    scaled = Selection(max_side_px=24, tiling=Tiling(12, 0))
    build_shards(source, tmp_path / "scaled", workers=1, selection=scaled)
    mean = depth.reshape(20, 2, 24, 2).mean(axis=(1, 3))
    tile = _decoded(tmp_path / "scaled")["a-0008-0012"]
    assert np.abs(tile["depth"] * 65535 - mean[8:20, 12:24]).max() <= 1.0


def test_the_least_side_is_that_before_cutting(pictures: Path, tmp_path: Path) -> None:
    chosen = Selection(min_side_px=40, tiling=Tiling(24, 8))
    assert build_shards(pictures, tmp_path / "out", workers=1, selection=chosen).samples == 72
    with pytest.raises(ShardError, match="none of the 12 samples"):
        build_shards(pictures, tmp_path / "none", workers=1, selection=Selection(41, None, False, TILED.tiling))


@pytest.mark.parametrize("other", [None, Tiling(24, 9), Tiling(25, 8)], ids=["whole", "overlap", "side"])
def test_other_tiles_in_the_same_output_are_refused(pictures: Path, tmp_path: Path, other: Tiling | None) -> None:
    build_shards(pictures, tmp_path / "out", samples_per_shard=3, workers=1, selection=TILED, part="1/2")
    before = _hashes(tmp_path / "out")
    with pytest.raises(ShardError, match="holds shards of other files or settings"):
        build_shards(pictures, tmp_path / "out", samples_per_shard=3, workers=1, selection=Selection(tiling=other))
    assert _hashes(tmp_path / "out") == before


def test_parts_and_workers_make_what_a_single_build_makes(pictures: Path, tmp_path: Path) -> None:
    build_shards(pictures, tmp_path / "one" / "out", samples_per_shard=3, workers=1, selection=TILED)
    for part in ("2/2", "1/2"):
        build_shards(pictures, tmp_path / "two" / "out", samples_per_shard=3, workers=2, selection=TILED, part=part)
    assert _hashes(tmp_path / "two" / "out") == _hashes(tmp_path / "one" / "out")


def test_a_build_that_is_killed_ends_as_one_that_is_not(picture: Picture, tmp_path: Path) -> None:
    source, output = tmp_path / "source", tmp_path / "killed" / "out"
    source.mkdir()
    for index in range(12):
        Image.fromarray(picture(index, 400, 600)).save(source / f"p{index:02d}.png")
    options = ["shards", "build", "--input", str(source), "--samples-per-shard", "1", "--workers", "1"]
    options += ["--max-side-px", "500", "--tile-px", "96", "--output"]
    assert main([*options, str(tmp_path / "whole" / "out")]) == 0
    whole = _hashes(tmp_path / "whole" / "out")
    command = [sys.executable, "-m", "abair_pl.cli", *options]
    for goal in (0, 3):
        with subprocess.Popen([*command, str(output)], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not list(output.glob(".*.tar.*.partial")):
                time.sleep(0.002)
            while process.poll() is None and len(list(output.glob("*.tar"))) < goal:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "the build was done before it was killed"
        assert not Manifest.read(output).complete
    assert main([*options, str(output)]) == 0
    assert _hashes(output) == whole


def test_a_broken_photograph_has_no_tiles(pictures: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("p00.png", "p01.png"):
        shutil.copy(pictures / name, source)
    (source / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        build_shards(source, tmp_path / "out", workers=1, selection=TILED)
    chosen = Selection(skip_broken=True, tiling=TILED.tiling)
    manifest = build_shards(source, tmp_path / "out", workers=1, selection=chosen)
    assert (manifest.samples, len(manifest.broken)) == (12, 1)


def test_tiles_from_the_command_line(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["shards", "build", "--input", str(pictures), "--workers", "1", "--output"]
    assert main([*command, str(tmp_path / "a"), "--tile-px", "24", "--tile-overlap-px", "8"]) == 0
    assert "72 samples in 1 shards" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "b"), "--tile-px", "32"]) == 0  # a quarter of it overlaps: 2 x 2 tiles
    assert "48 samples in 1 shards" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "c"), "--tile-px", "24", "--tile-overlap-px", "24"]) == 2
    assert "tile_overlap_px is 24; expected 0 to 23, less than tile_px" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "c"), "--tile-overlap-px", "24"]) == 2
    assert "--tile-overlap-px 24 is of tiles; expected --tile-px with it" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
