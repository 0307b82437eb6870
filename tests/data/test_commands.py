import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abair_pl.data import commands
from abair_pl.data.dead_leaves import draw_dead_leaves
from abair_pl.data.decode import decode_sample
from abair_pl.data.manifest import Manifest, file_sha256
from abair_pl.data.streaming import read_samples
from abair_pl.errors import ShardError


@pytest.fixture
def copied(clean_shards: Path, tmp_path: Path) -> Path:
    """A copy of the shards that may be damaged."""
    return Path(shutil.copytree(clean_shards, tmp_path / "clean"))


def _rewrite(folder: Path, index: int = 0, **changes: object) -> None:
    manifest = Manifest.read(folder)
    shards = list(manifest.shards)
    shards[index] = replace(shards[index], **changes)  # type: ignore[arg-type]
    replace(manifest, shards=shards).write(folder)


def test_build_says_what_it_wrote(
    pictures: Path, clean_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "clean"
    commands.build(pictures, output, samples_per_shard=3, workers=1)
    assert capsys.readouterr().out == f"12 samples in 4 shards at {output}\n"
    assert Manifest.read(output) == Manifest.read(clean_shards)


def test_verify_accepts_what_build_wrote(
    clean_shards: Path, pair_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for shards, said in ((clean_shards, "12 samples in 4 shards"), (pair_shards, "6 samples in 2 shards")):
        commands.verify(shards)
        assert capsys.readouterr().out.startswith(said)


def test_verify_finds_a_changed_byte(copied: Path) -> None:
    shard = copied / "clean-000002.tar"
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ShardError, match=r"clean-000002\.tar is missing or changed"):
        commands.verify(copied)


def test_verify_finds_a_missing_shard(copied: Path) -> None:
    (copied / "clean-000001.tar").unlink()
    with pytest.raises(ShardError, match=r"clean-000001\.tar is missing or changed"):
        commands.verify(copied)


def test_verify_finds_a_shard_that_is_not_listed(copied: Path) -> None:
    shutil.copy(copied / "clean-000000.tar", copied / "stray.tar")
    with pytest.raises(ShardError, match=r"stray\.tar"):
        commands.verify(copied)


def test_verify_finds_a_wrong_count(copied: Path) -> None:
    _rewrite(copied, samples=4)
    with pytest.raises(ShardError, match=r"clean-000000\.tar has 3 samples, its manifest 4"):
        commands.verify(copied)


def test_verify_refuses_an_interrupted_build(copied: Path) -> None:
    replace(Manifest.read(copied), complete=False).write(copied)
    with pytest.raises(ShardError, match="holds an interrupted build"):
        commands.verify(copied)


def test_show_draws_a_contact_sheet(
    clean_shards: Path, pair_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    commands.show(str(clean_shards), sheet, images=5, columns=2)
    with Image.open(sheet) as image:
        assert image.size == (2 * 160, 3 * 160)
        pixels = np.asarray(image)
    assert capsys.readouterr().out == f"5 samples on {sheet}\n"
    assert (pixels[2 * 160 :, :160] < 255).any()
    assert (pixels[2 * 160 :, 160:] == 255).all()
    commands.show(str(pair_shards), sheet)
    assert capsys.readouterr().out == f"6 samples on {sheet}\n"


def test_synth_draws_the_same_shards_for_the_same_seeds(tmp_path: Path) -> None:
    hashes = []
    for folder in ("a", "b"):
        commands.synth(tmp_path / folder / "leaves", images=2, seed=7, samples_per_shard=1, workers=2)
        hashes.append([file_sha256(path) for path in sorted((tmp_path / folder / "leaves").glob("*.tar"))])
    assert hashes[0] == hashes[1]
    (sample,) = read_samples([str(tmp_path / "a" / "leaves" / "leaves-000001.tar")])
    assert np.array_equal(decode_sample(sample)["image"], draw_dead_leaves(8))


def test_sample_passes_its_options_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(commands, "build_sample", lambda *arguments: calls.append(arguments))
    commands.sample(tmp_path, dead_leaves=3, seed=9)
    assert calls == [(tmp_path, 3, 9)]
    assert str(tmp_path) in capsys.readouterr().out
