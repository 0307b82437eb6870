import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from abair_pl.data.manifest import Manifest, ShardEntry, file_sha256
from abair_pl.data.shards.verify import verify_shards
from abair_pl.errors import ShardError

Picture = Callable[..., NDArray[np.uint8]]
Encoded = Callable[..., bytes]
WriteTar = Callable[[Path, Mapping[str, bytes]], str]


@pytest.fixture
def copied(clean_shards: Path, tmp_path: Path) -> Path:
    """A copy of the shards that may be damaged."""
    return Path(shutil.copytree(clean_shards, tmp_path / "clean"))


@pytest.fixture
def hold(tmp_path: Path, write_tar: WriteTar) -> Callable[..., Path]:
    """``hold(members, kind, samples)``: a shard by hand, with a manifest that fits its bytes."""

    def make(members: Mapping[str, bytes], kind: str = "clean", samples: int = 1) -> Path:
        path = Path(write_tar(tmp_path / "x-000000.tar", members))
        entry = ShardEntry(path.name, samples, path.stat().st_size, file_sha256(path))
        Manifest(kind, "00", complete=True, shards=[entry]).write(tmp_path)  # type: ignore[arg-type]
        return tmp_path

    return make


def test_what_build_wrote_is_accepted(clean_shards: Path, pair_shards: Path) -> None:
    assert verify_shards(clean_shards, workers=1) == Manifest.read(clean_shards)
    assert verify_shards(pair_shards, workers=2).samples == 6


def test_a_changed_byte_is_found(copied: Path) -> None:
    shard = copied / "clean-000002.tar"
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ShardError, match=r"clean-000002\.tar is missing or changed since it was built; remove it"):
        verify_shards(copied, workers=1)


def test_the_first_of_several_faults_is_named_and_others_are_counted(copied: Path) -> None:
    for index in (1, 2, 3):
        (copied / f"clean-00000{index}.tar").unlink()
    with pytest.raises(ShardError, match=r"clean-000001\.tar is missing.*\(2 other shards have faults too\)"):
        verify_shards(copied, workers=2)


def test_a_shard_that_is_not_listed_is_found(copied: Path) -> None:
    shutil.copy(copied / "clean-000000.tar", copied / "stray.tar")
    with pytest.raises(ShardError, match=r"stray\.tar is not in manifest\.json"):
        verify_shards(copied, workers=1)


def test_an_interrupted_build_is_refused(copied: Path) -> None:
    replace(Manifest.read(copied), complete=False).write(copied)
    with pytest.raises(ShardError, match="holds an interrupted build; finish it"):
        verify_shards(copied, workers=1)


def test_faults_that_hashes_do_not_tell_are_found(
    hold: Callable[..., Path], picture: Picture, encoded: Encoded
) -> None:
    small, large = encoded(picture(0, 8, 8)), encoded(picture(1, 9, 8))
    grey = encoded(picture(2, 9, 8)[..., 0])
    cases: list[tuple[dict[str, bytes], str, int, str]] = [
        ({"a.png": small}, "clean", 2, r"x-000000\.tar has 1 samples, its manifest 2"),
        ({"a.png": small[:-40]}, "clean", 1, r"a\.png: not a readable image"),
        ({"a.input.png": small, "a.target.png": large}, "paired", 1, r"a has images of unequal sizes \(input 8 x 8"),
        (
            {"a.png": small, "a.depth.png": grey},
            "clean",
            1,
            r"unequal sizes \(image 8 x 8, depth 8 x 9",
        ),
        ({"a.png": small}, "paired", 1, "sample a is not paired as its manifest says"),
        ({"a.png": small, "b.png": large, "a.jpg": small}, "clean", 3, "sample a"),
        ({"a.png": small, "a.pkl": b"\x80\x04N."}, "clean", 1, r"a\.pkl"),
    ]
    for members, kind, samples, said in cases:
        with pytest.raises(ShardError, match=said):
            verify_shards(hold(members, kind, samples), workers=1)
    verify_shards(hold({"a.png": large, "a.depth.png": grey}), workers=1)


def test_a_damaged_tar_is_told_of(hold: Callable[..., Path], picture: Picture, encoded: Encoded) -> None:
    folder = hold({"a.png": encoded(picture(0, 8, 8))})
    shard = folder / "x-000000.tar"
    buffer = io.BytesIO(shard.read_bytes())
    shard.write_bytes(buffer.getvalue()[:700])
    entry = ShardEntry(shard.name, 1, 700, file_sha256(shard))
    Manifest("clean", "00", complete=True, shards=[entry]).write(folder)
    with pytest.raises(ShardError, match=r"x-000000\.tar"):
        verify_shards(folder, workers=1)
