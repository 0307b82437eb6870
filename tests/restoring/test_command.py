import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from abair_pl.errors import InputError
from abair_pl.restore import Abair
from abair_pl.restore_command import restore_files


@pytest.fixture(scope="module")
def model(bundle_path: Path) -> Abair:
    return Abair.from_pretrained(bundle_path, device="cpu")


@pytest.fixture
def folder(photographs: Path, tmp_path: Path) -> Path:
    """A folder of three photographs that the test may change."""
    for index in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(photographs / f"photo-{index}.png", tmp_path / "in")
    return tmp_path / "in"


def test_files_keep_their_sizes_and_json_lines_hold_the_contract(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert restore_files([folder], output, bundle_path, weights="rain=0.75,noise=0.25", device="cpu", json=True) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    for line, source in zip(lines, sorted(folder.iterdir()), strict=True):
        assert set(line) == {"input", "output", "weights", "unknown", "seconds", "megapixels"}
        assert line["unknown"] is False
        assert line["input"] == str(source)
        assert line["output"] == str(output / source.name)
        assert line["weights"] == {"rain": 0.75, "haze": 0.0, "noise": 0.25, "blur": 0.0, "low_light": 0.0}
        assert line["seconds"] >= 0
        with Image.open(source) as before, Image.open(line["output"]) as after:
            assert after.size == before.size
            assert after.mode == "RGB"
            assert line["megapixels"] == pytest.approx(before.width * before.height / 1e6)
    assert {path.name for path in output.iterdir()} == {path.name for path in folder.iterdir()}


def test_file_holds_what_python_restores(model: Abair, folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    source = folder / "photo-1.png"
    restore_files([source], tmp_path / "out", bundle_path, device="cpu")
    expected = np.asarray(model.restore(Image.open(source)).image).astype(int)
    found = np.asarray(Image.open(tmp_path / "out" / "photo-1.png")).astype(int)
    assert np.abs(found - expected).max() <= 1


def test_lines_for_people_name_file_and_weights(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restore_files([folder / "photo-0.png"], tmp_path, bundle_path, blend="blur", device="cpu", format="jpg")
    line = capsys.readouterr().out
    assert line.startswith(f"{folder / 'photo-0.png'} -> {tmp_path / 'photo-0.jpg'}  blur 1.00  ")
    with Image.open(tmp_path / "photo-0.jpg") as image:
        assert image.format == "JPEG"


def test_a_guess_is_told_on_stderr_and_in_json(
    folder: Path, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = folder / "photo-0.png", tmp_path / "out"
    assert restore_files([source], output, strange, device="cpu", json=True) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["unknown"] is True
    warning = f"abair-pl: warning: {source}: its damage is unlike any adapter; weights are a guess\n"
    assert shown.err == warning
    assert restore_files([source], output, strange, blend="rain", device="cpu") == 0
    assert capsys.readouterr().err == ""


def test_alpha_is_kept(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    source = folder / "glass.png"
    photograph = Image.open(folder / "photo-0.png").convert("RGBA")
    alpha = Image.linear_gradient("L").resize(photograph.size)
    photograph.putalpha(alpha)
    photograph.save(source)
    restore_files([source], tmp_path / "out", bundle_path, device="cpu")
    with Image.open(tmp_path / "out" / "glass.png") as restored:
        assert restored.mode == "RGBA"
        assert np.array_equal(np.asarray(restored.getchannel("A")), np.asarray(alpha))


def test_an_input_is_never_overwritten(folder: Path, bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder / "photo-0.png"
    before = source.read_bytes()
    assert restore_files([source], folder, bundle_path, device="cpu") == 2
    assert source.read_bytes() == before
    assert f"{source} would be overwritten" in capsys.readouterr().err


def test_inputs_of_one_stem_are_refused(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    Image.open(folder / "photo-0.png").save(folder / "photo-0.jpg")
    with pytest.raises(InputError, match=r"several inputs would be written to .*photo-0\.png"):
        restore_files([folder], tmp_path / "out", bundle_path)
    assert not (tmp_path / "out").exists()


def test_a_bad_file_does_not_stop_the_good_ones(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "photo-0.png").write_text("not an image")
    Image.new("RGB", (5, 50)).save(folder / "photo-1.png")
    assert restore_files([folder], tmp_path / "out", bundle_path, device="cpu", json=True) == 2
    shown = capsys.readouterr()
    assert [Path(json.loads(line)["input"]).name for line in shown.out.splitlines()] == ["photo-2.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo-2.png"]
    errors = [line for line in shown.err.splitlines() if line.startswith("abair-pl: error: ")]
    assert len(errors) == 2
    assert str(folder / "photo-0.png") in errors[0]
    assert str(folder / "photo-1.png") in errors[1]


def test_unknown_blend_is_refused_for_files_too(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown blend 'snow'"):
        restore_files([folder], tmp_path / "out", bundle_path, blend="snow", device="cpu")


def test_an_output_that_is_a_file_is_refused(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    for output in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(InputError, match=f"{output} cannot be a folder of results .*; choose another --output"):
            restore_files([folder], output, bundle_path, device="cpu")


def test_blend_and_weights_together_are_refused(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    for blend in ("soft", "rain"):
        with pytest.raises(InputError, match=f"blend is {blend} and weights are noise=1; expected one of them"):
            restore_files([folder], tmp_path / "out", bundle_path, blend, "noise=1", device="cpu")
    assert not (tmp_path / "out").exists()


def test_blend_by_pixel_without_adapters_is_the_plain_backbone(
    folder: Path, backbone_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder / "photo-0.png"
    for blend in ("pixel", "none"):
        for tile_px in (512, 32):
            output = tmp_path / f"{blend}-{tile_px}"
            options: dict[str, Any] = {"tile_px": tile_px, "overlap_px": 8, "device": "cpu", "json": True}
            assert restore_files([source], output, backbone_path, blend, **options) == 0
            assert json.loads(capsys.readouterr().out)["weights"] == {}
    for tile_px in (512, 32):
        pixel, none = (np.asarray(Image.open(tmp_path / f"{b}-{tile_px}" / source.name)) for b in ("pixel", "none"))
        assert np.array_equal(pixel, none)
