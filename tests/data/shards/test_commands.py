import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abair_pl.cli import main
from abair_pl.data.decode import decode_sample
from abair_pl.data.manifest import Manifest
from abair_pl.data.shards import commands
from abair_pl.data.shards.dead_leaves import draw_dead_leaves
from abair_pl.data.streaming.archive import read_samples


def test_build_says_what_it_wrote(
    pictures: Path, clean_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "clean"
    commands.build(pictures, output, samples_per_shard=3, workers=1)
    assert capsys.readouterr().out == f"12 samples in 4 shards at {output}\n"
    assert Manifest.read(output) == Manifest.read(clean_shards)


def test_build_passes_its_options_on(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photographs").mkdir()
    for index in range(3):
        shutil.copy(pictures / f"p0{index}.png", tmp_path / "photographs" / f"kodim0{index + 1}.png")
    (tmp_path / "photographs" / "kodim09.png").touch()
    command = ["shards", "build", "--input", str(tmp_path / "photographs"), "--output", str(tmp_path / "kodak")]
    command += ["--layout", "kodak24", "--split", "all", "--samples-per-shard", "2", "--shard-size-mb", "9"]
    command += ["--min-side-px", "9", "--max-side-px", "12", "--allow-partial", "--skip-broken", "--workers", "1"]
    assert main([*command, "--part", "2/2"]) == 0
    said = capsys.readouterr().out
    assert "note: " in said
    assert "expected 24 photographs, found 4: missing kodim04, kodim05, kodim06, kodim07, kodim08 and 15 more" in said
    assert f"1 samples in 1 shards at {tmp_path / 'kodak'}; 1 broken, left out and listed in the manifest" in said
    assert "part 2/2 is done, others are not yet" in said
    assert main(command) == 0
    assert f"3 samples in 2 shards at {tmp_path / 'kodak'}; 1 broken" in capsys.readouterr().out
    (first, *_) = read_samples([str(tmp_path / "kodak" / "kodak-000000.tar")])
    assert decode_sample(first)["image"].shape == (10, 12, 3)
    assert main([*command, "--min-side-px", "11", "--output", str(tmp_path / "none")]) == 2
    assert "none of the 4 samples" in capsys.readouterr().err


def test_small_samples_are_told_of(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(pictures, tmp_path / "source")
    Image.new("RGB", (8, 8)).save(tmp_path / "source" / "small.png")
    commands.build(tmp_path / "source", tmp_path / "out", min_side_px=20, workers=1)
    assert capsys.readouterr().out == f"12 samples in 1 shards at {tmp_path / 'out'}; 1 too small, left out\n"


def test_verify_and_show_say_what_they_did(
    clean_shards: Path, pair_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.verify(clean_shards, workers=1)
    assert capsys.readouterr().out == "12 samples in 4 shards are as they were built\n"
    commands.show(str(pair_shards), tmp_path / "sheet.png", images=4)
    assert capsys.readouterr().out == f"4 samples on {tmp_path / 'sheet.png'}\n"


def test_synth_passes_its_options_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.synth(tmp_path / "leaves", images=3, seed=7, samples_per_shard=1, part="2/2", workers=1)
    assert "1 samples in 1 shards" in capsys.readouterr().out
    (sample,) = read_samples([str(tmp_path / "leaves" / "leaves-000001.tar")])
    assert np.array_equal(decode_sample(sample)["image"], draw_dead_leaves(8))


@pytest.mark.parametrize("output", ["folder", "file/sheet.png", "/proc/x/sheet.png"])
def test_a_sheet_that_cannot_be_written_is_one_line(
    clean_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert main(["shards", "show", "--input", str(clean_shards), "--output", str(tmp_path / output)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{tmp_path / output}: cannot be written" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--output", "/proc/xx"], 1, "/proc/xx: cannot be written"),
        (["--output", "{folder}/file"], 1, "file: cannot be written"),
        (["--output", "{folder}/x", "--seed", "-1"], 2, "seed is -1; expected at least 0 and less than 2**53"),
        (["--output", "{folder}/x", "--seed", str(2**53)], 2, f"seed is {2**53}; expected at least 0"),
        (["--output", "{folder}/x", "--dead-leaves", "-1"], 2, "dead_leaves is -1; expected at least 0"),
    ],
)
def test_a_sample_that_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, message: str
) -> None:
    (tmp_path / "file").touch()
    assert main(["shards", "sample", *(option.format(folder=tmp_path) for option in options)]) == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_layouts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shards", "layouts"]) == 0
    assert "cdd11        paired  train 13013, test 2200" in capsys.readouterr().out


def test_a_build_starts_without_torch() -> None:
    probe = "import sys; from abair_pl.data.shards import commands; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_sample_passes_its_options_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr("abair_pl.data.shards.sample.build_sample", lambda *arguments: calls.append(arguments))
    commands.sample(tmp_path, dead_leaves=3, seed=9)
    commands.sample(tmp_path, without=["rocket"])
    assert calls == [(tmp_path, 3, 9, ()), (tmp_path, 128, 0, ["rocket"])]
    assert str(tmp_path) in capsys.readouterr().out
