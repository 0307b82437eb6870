import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from abair_pl.bundle import Bundle, save_estimator
from abair_pl.errors import InputError
from abair_pl.restore import Abair
from abair_pl.restoring.command import restore_files
from abair_pl.restoring.inputs import STANDARD
from abair_pl.result import Result


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


def test_that_a_photograph_is_found_clean_is_told(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or nobody would know why a dark one comes back dark."""
    bundle, source = Bundle.open(bundle_path), folder / "photo-0.png"
    estimator = bundle.estimator()
    last = estimator.classify[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias[0] += 50.0
    says_clean = save_estimator(tmp_path / "bundle", bundle, estimator, {}).path
    for blend, told in (("soft", True), ("one_hot", True), ("rain", False), ("none", False)):
        assert restore_files([source], tmp_path / blend, says_clean, blend=blend, device="cpu") == 0
        assert ("it is found clean and stays as it is; --blend ADAPTER" in capsys.readouterr().err) == told


def test_what_is_found_clean_is_no_guess(
    folder: Path, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads((strange / "config.json").read_text())
    values["calibration"]["bias"] = [100.0] + [0.0] * len(values["estimated"])
    (strange / "config.json").write_text(json.dumps(values))
    assert restore_files([folder / "photo-0.png"], tmp_path, strange, device="cpu") == 0
    said = capsys.readouterr().err
    assert "it is found clean and stays as it is" in said
    assert "unlike any adapter" not in said


def test_passes_are_told_one_after_the_other(
    folder: Path, layered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder / "photo-0.png"
    assert restore_files([source], tmp_path / "once", layered, device="cpu", json=True) == 0
    once = json.loads(capsys.readouterr().out)
    assert restore_files([source], tmp_path / "often", layered, passes=3, device="cpu", json=True) == 0
    often = json.loads(capsys.readouterr().out)
    assert "further" not in once
    assert often["weights"] == once["weights"]
    assert [weights["noise"] for weights in often["further"]] == [1.0]
    assert (tmp_path / "once" / "photo-0.png").read_bytes() != (tmp_path / "often" / "photo-0.png").read_bytes()
    assert restore_files([source], tmp_path / "told", layered, passes=3, device="cpu", explain=True) == 0
    assert re.search(r"  haze 1\.00  .*  then noise 1\.00  ", capsys.readouterr().out)
    with Image.open(tmp_path / "told" / "photo-0.explain.png") as sheet:
        assert sheet.width == 5 * 428 + 8


def test_several_passes_of_a_fixed_blend_are_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="passes is 2 and weights are given; expected one of one_hot, soft"):
        restore_files([folder], tmp_path / "out", weights="rain=1", passes=2, device="cpu")
    assert not (tmp_path / "out").exists()


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


def test_an_input_is_never_overwritten(folder: Path, bundle_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=r"photo-0\.png is an input and would be overwritten"):
        restore_files(sorted(folder.iterdir()), folder, bundle_path, device="cpu")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_inputs_of_one_stem_are_refused_before_anything_is_done(
    folder: Path, bundle_path: Path, tmp_path: Path
) -> None:
    Image.open(folder / "photo-2.png").save(folder / "photo-2.jpg")
    with pytest.raises(InputError, match=r"would both be written to .*photo-2\.png"):
        restore_files([folder], tmp_path / "out", bundle_path)
    assert not (tmp_path / "out").exists()


def test_a_bad_file_does_not_stop_the_good_ones(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "photo-0.png").write_text("not an image")
    (folder / "photo-1.png").write_bytes((folder / "photo-1.png").read_bytes()[:-60])
    assert restore_files([folder], tmp_path / "out", bundle_path, device="cpu", json=True) == 2
    shown = capsys.readouterr()
    assert [Path(json.loads(line)["input"]).name for line in shown.out.splitlines()] == ["photo-2.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo-2.png"]
    *errors, summary = shown.err.splitlines()
    assert [line.partition(": not a readable image")[0] for line in errors] == [
        f"abair-pl: error: {folder / f'photo-{index}.png'}" for index in range(2)
    ]
    assert summary.startswith("abair-pl: 1 restored, 0 skipped, 2 failed; 0.00 megapixels in ")


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


def test_folders_keep_their_tree(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "photo-1.png").rename(folder / "sub" / "photo-0.png")
    assert restore_files([folder], tmp_path / "out", bundle_path, device="cpu") == 0
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["photo-0.png", "photo-2.png", "sub/photo-0.png"]


def test_existing_results_are_skipped(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "photo-1.png").write_bytes(b"of an earlier run")
    assert restore_files([folder], output, bundle_path, device="cpu", skip_existing=True) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    assert "2 restored, 1 skipped, 0 failed" in shown.err
    assert (output / "photo-1.png").read_bytes() == b"of an earlier run"
    assert restore_files([folder], output, tmp_path / "no bundle is needed", skip_existing=True) == 0
    assert "0 restored, 3 skipped" in capsys.readouterr().err
    assert restore_files([folder], output, bundle_path, device="cpu") == 0
    assert (output / "photo-1.png").read_bytes() != b"of an earlier run"


def test_strength_nought_gives_the_photograph_back(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    source = folder / "photo-0.png"
    for strength, same in ((0.0, True), (1.0, False)):
        restore_files([source], tmp_path / "out", bundle_path, blend="rain", strength=strength, device="cpu")
        restored = np.asarray(Image.open(tmp_path / "out" / source.name))
        assert np.array_equal(restored, np.asarray(Image.open(source))) is same


def test_a_sheet_explains_each_result(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert restore_files([folder], output, bundle_path, device="cpu", format="webp", explain=True) == 0
    assert sorted(path.name for path in output.glob("photo-0.*")) == ["photo-0.explain.png", "photo-0.webp"]
    with Image.open(output / "photo-0.explain.png") as sheet:
        assert sheet.width == 4 * 428 + 8


def test_quality_is_that_of_lossy_formats(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    source, sizes = folder / "photo-0.png", []
    for quality in (10, 100):
        restore_files([source], tmp_path / "out", bundle_path, device="cpu", format="jpg", quality=quality)
        sizes.append((tmp_path / "out" / "photo-0.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
    with pytest.raises(InputError, match="quality is 90 and the format png, which loses nothing; expected"):
        restore_files([source], tmp_path / "out", bundle_path, quality=90)
    for quality in (0, 101):
        with pytest.raises(InputError, match=f"quality is {quality}; expected 1 to 100"):
            restore_files([source], tmp_path / "out", bundle_path, format="webp", quality=quality)


def test_alpha_that_is_left_out_is_told(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.open(folder / "photo-0.png").convert("RGBA").save(folder / "photo-0.png")
    restore_files([folder / "photo-0.png"], tmp_path / "out", bundle_path, device="cpu", format="jpg")
    assert "photo-0.png: its alpha is left out, which JPEG does not have" in capsys.readouterr().err


def test_smaller_tiles_for_want_of_memory_are_told(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (300, 20), "teal").save(folder / "long.png")
    restored = Abair._restored

    def scarce(model: Abair, pixels: Tensor, *arguments: Any) -> Result:
        if model._tiling(pixels).fits(pixels):
            raise MemoryError
        return restored(model, pixels, *arguments)

    monkeypatch.setattr(Abair, "_restored", scarce)
    assert restore_files([folder / "long.png"], tmp_path / "out", bundle_path, device="cpu") == 0
    assert "long.png: memory ran out; it and what follows is done in tiles of 150 px" in capsys.readouterr().err


@pytest.mark.parametrize("strength", [-0.1, 2.0, float("nan")])
def test_a_strength_is_judged_before_anything_is_done(folder: Path, tmp_path: Path, strength: float) -> None:
    with pytest.raises(InputError, match=r"^strength is "):
        restore_files([folder], tmp_path / "out", tmp_path / "no-bundle", strength=strength)
    assert not (tmp_path / "out").exists()


def test_an_empty_blend_is_not_the_default(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown blend ''"):
        restore_files([folder], tmp_path / "out", bundle_path, blend="")


def test_a_result_that_has_a_folder_in_its_place_does_not_stop_the_others(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "photo-0.png").mkdir(parents=True)
    assert restore_files([folder], tmp_path / "out", bundle_path, device="cpu") == 2
    assert "photo-0.png (Is a directory); rename the photograph" in capsys.readouterr().err
    assert (tmp_path / "out" / "photo-2.png").is_file()


class Standard:
    """A text stream above one of bytes, as ``sys.stdin`` and ``sys.stdout`` are."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)


def test_from_standard_input_to_standard_output(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, stdout = folder / "photo-0.png", Standard()
    monkeypatch.setattr(sys, "stdin", Standard(source.read_bytes()))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert restore_files([STANDARD], STANDARD, bundle_path, device="cpu", format="webp") == 0
    assert capsys.readouterr().err.startswith("- -> -  ")
    restore_files([source], tmp_path / "out", bundle_path, device="cpu", format="webp")
    assert stdout.buffer.getvalue() == (tmp_path / "out" / "photo-0.webp").read_bytes()


def test_what_comes_from_standard_input_may_be_no_photograph(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Standard(b"text"))
    assert restore_files([STANDARD], tmp_path / "out", bundle_path, device="cpu") == 2
    assert capsys.readouterr().err.startswith("abair-pl: error: standard input: not a readable image")


@pytest.mark.parametrize("option", ["json", "skip_existing"])
def test_standard_output_takes_the_photograph_alone(bundle_path: Path, option: str) -> None:
    with pytest.raises(InputError, match="standard output takes the photograph; expected a folder"):
        restore_files([STANDARD], STANDARD, bundle_path, **{option: True})  # type: ignore[arg-type]


def test_numbers_of_devices_are_checked(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="devices is 0"):
        restore_files([folder], tmp_path / "out", bundle_path, device="cpu", devices=0)
