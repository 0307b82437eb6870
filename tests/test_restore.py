import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from abair_pl.errors import BundleError, ImageError, InputError
from abair_pl.restore import Abair, restore_files


@pytest.fixture(scope="module")
def model(bundle_path: Path) -> Abair:
    return Abair.from_pretrained(bundle_path, device="cpu")


@pytest.fixture(scope="module")
def photograph(photographs: Path) -> Image.Image:
    return Image.open(photographs / "photo-0.png").convert("RGB")


@pytest.fixture
def folder(photographs: Path, tmp_path: Path) -> Path:
    """A folder of three photographs that the test may change."""
    for index in range(3):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(photographs / f"photo-{index}.png", tmp_path / "in")
    return tmp_path / "in"


def test_names_are_the_adapters_in_the_order_of_the_weights(model: Abair, names: list[str]) -> None:
    assert model.names == names


def test_pil_array_and_tensor_give_the_same_result(model: Abair, photograph: Image.Image) -> None:
    array = np.asarray(photograph)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1) / 255.0
    results = [model.restore(image) for image in (photograph, array, tensor)]
    for result in results:
        assert result.restored.shape == (3, 40, 56)
        assert torch.equal(result.restored, results[0].restored)
        assert result.weights == results[0].weights
        assert result.image.size == photograph.size
    assert 0.0 <= results[0].restored.min() <= results[0].restored.max() <= 1.0
    assert not torch.equal(results[0].restored, tensor)


def test_arrays_may_be_read_only_or_flipped(model: Abair, photograph: Image.Image) -> None:
    array = np.asarray(photograph)
    assert not array.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flipped = model.restore(array[:, ::-1], "none", with_labels=False).restored
    assert torch.equal(flipped, model.restore(array[:, ::-1].copy(), "none", with_labels=False).restored)


def test_labels_are_those_of_the_segmentation_head(model: Abair, photograph: Image.Image) -> None:
    labels = model.restore(photograph).labels
    assert labels is not None
    assert labels.shape == (40, 56)
    assert labels.dtype == torch.int64
    backbone = model.bundle.backbone().eval()
    pixels = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None] / 255.0
    with torch.no_grad():
        expected = backbone.segment(backbone.encode(pixels)).argmax(dim=1)[0]
    assert (labels == expected).float().mean() > 0.999
    assert model.restore(photograph, with_labels=False).labels is None


def test_soft_weights_are_probabilities_and_one_hot_picks_one(model: Abair, photograph: Image.Image) -> None:
    soft = model.restore(photograph).weights
    assert list(soft) == model.names
    assert 0.0 < sum(soft.values()) < 1.0
    assert sorted(model.restore(photograph, "one_hot").weights.values()) in ([0.0] * 4 + [1.0], [0.0] * 5)


def test_an_adapter_by_name_is_a_fixed_weight(model: Abair, photograph: Image.Image) -> None:
    by_name, fixed = model.restore(photograph, "haze"), model.restore(photograph, weights={"haze": 1.0})
    assert by_name.weights == fixed.weights == {name: float(name == "haze") for name in model.names}
    assert torch.equal(by_name.restored, fixed.restored)
    assert not torch.equal(by_name.restored, model.restore(photograph, weights={"haze": 0.5}).restored)


def test_none_is_the_plain_backbone(model: Abair, photograph: Image.Image) -> None:
    pixels = torch.from_numpy(np.array(photograph)).permute(2, 0, 1) / 255.0
    with torch.no_grad():
        expected = model.bundle.backbone()(pixels[None])[0].clamp(0.0, 1.0)
    torch.testing.assert_close(model.restore(photograph, "none").restored, expected, atol=1e-4, rtol=1e-4)


def test_a_bundle_without_adapters_restores_by_its_backbone(backbone_path: Path, photograph: Image.Image) -> None:
    model = Abair.from_pretrained(backbone_path, device="cpu")
    assert model.restore(photograph, "none").weights == {}
    with pytest.raises(BundleError, match="run phase III"):
        model.restore(photograph)


def test_tiles_are_close_to_the_whole(bundle_path: Path, photographs: Path) -> None:
    """Attention sees less in a tile, so they are not equal; but no tile is misplaced."""
    photograph = Image.open(photographs / "photo-7.png")
    whole, tiles = (
        Abair.from_pretrained(bundle_path, "cpu", tile_px=tile_px, overlap_px=8).restore(photograph, "rain")
        for tile_px in (128, 32)
    )
    assert tiles.restored.shape == whole.restored.shape == (3, 68, 56)
    assert tiles.labels is not None
    assert tiles.labels.shape == (68, 56)
    assert tiles.restored.isfinite().all()
    assert 0.0 < (tiles.restored - whole.restored).abs().mean() < 0.05


@pytest.mark.parametrize("shape", [(3, 7, 40), (3, 40, 7)])
def test_too_small_images_are_refused(model: Abair, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=f"image of {shape[2]} x {shape[1]} pixels; expected at least 8"):
        model.restore(torch.rand(shape))
    assert model.restore(torch.rand(3, 8, 8)).restored.shape == (3, 8, 8)


@pytest.mark.parametrize("shape", [(40, 40), (1, 40, 40), (1, 3, 40, 40)])
def test_tensors_of_another_shape_are_refused(model: Abair, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"expected \(3, H, W\)"):
        model.restore(torch.rand(shape))


def test_arrays_and_tensors_of_another_type_are_refused(model: Abair) -> None:
    with pytest.raises(ImageError, match=r"float64; expected \(H, W, 3\) uint8"):
        model.restore(np.zeros((40, 40, 3)))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"uint8; expected \(3, H, W\) float"):
        model.restore(torch.zeros(3, 40, 40, dtype=torch.uint8))


def test_unknown_blend_and_adapter_name_the_known_ones(model: Abair, photograph: Image.Image) -> None:
    with pytest.raises(InputError, match=r"sofd.*soft"):
        model.restore(photograph, "sofd")
    with pytest.raises(InputError, match=r"unknown blend 'rian'; expected .*soft, none, rain.*did you mean 'rain'"):
        model.restore(photograph, "rian")
    with pytest.raises(InputError, match=r"unknown adapter 'rian'.*did you mean 'rain'"):
        model.restore(photograph, weights={"rian": 1.0})


def test_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"no bundle at {tmp_path}"):
        Abair.from_pretrained(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused(bundle_path: Path) -> None:
    with pytest.raises(InputError, match="no CUDA device"):
        Abair.from_pretrained(bundle_path, device="cuda")


@pytest.mark.parametrize("overlap_px", [-1, 16])
def test_impossible_tiles_are_refused(bundle_path: Path, photograph: Image.Image, overlap_px: int) -> None:
    model = Abair.from_pretrained(bundle_path, "cpu", tile_px=32, overlap_px=overlap_px)
    with pytest.raises(InputError, match=f"overlap is {overlap_px} px and tile 32 px"):
        model.restore(photograph, "none")


def test_files_keep_their_sizes_and_json_lines_hold_the_contract(
    folder: Path, bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert restore_files([folder], output, bundle_path, weights="rain=0.75,noise=0.25", device="cpu", json=True) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    for line, source in zip(lines, sorted(folder.iterdir()), strict=True):
        assert set(line) == {"input", "output", "weights", "seconds", "megapixels"}
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
