import json
import warnings
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from abair_pl.errors import BundleError, ImageError, InputError
from abair_pl.images import to_pixels
from abair_pl.models.calibration import energy_score
from abair_pl.restore import Abair


@pytest.fixture(scope="module")
def model(bundle_path: Path) -> Abair:
    return Abair.from_pretrained(bundle_path, device="cpu")


@pytest.fixture(scope="module")
def photograph(photographs: Path) -> Image.Image:
    return Image.open(photographs / "photo-0.png").convert("RGB")


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


@pytest.mark.parametrize("blend", ["soft", "one_hot"])
def test_what_the_estimator_finds_clean_stays_as_it_is(
    bundle_path: Path, photograph: Image.Image, blend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Abair.from_pretrained(bundle_path, "cpu")
    certain = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    monkeypatch.setattr(model, "estimate", lambda images, without=(): (certain, torch.zeros(1, dtype=torch.bool)))
    result = model.restore(photograph, blend)
    assert set(result.weights.values()) == {0.0}
    assert np.array_equal(np.asarray(result.image), np.asarray(photograph))
    assert not np.array_equal(np.asarray(model.restore(photograph, "none").image), np.asarray(photograph))


def test_pixels_have_what_the_estimator_finds_in_the_image(
    bundle_path: Path, photograph: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Abair.from_pretrained(bundle_path, "cpu")
    certain = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]])
    monkeypatch.setattr(model, "estimate", lambda images, without=(): (certain, torch.zeros(1, dtype=torch.bool)))
    found, asked = model.restore(photograph, "pixel"), model.restore(photograph, "haze")
    assert found.weights == pytest.approx(asked.weights, abs=1e-4)
    assert (found.restored - asked.restored).abs().max() < 1e-4
    monkeypatch.setattr(
        model, "estimate", lambda images, without=(): (certain.roll(-2, dims=1), torch.zeros(1, dtype=torch.bool))
    )
    assert np.array_equal(np.asarray(model.restore(photograph, "pixel").image), np.asarray(photograph)), "clean"


def test_without_an_estimator_pixels_have_what_the_segmentation_head_finds(
    bundle_copy: Path, photograph: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bundle_copy / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "estimated": {}}))
    model = Abair.from_pretrained(bundle_copy, "cpu")
    monkeypatch.setattr(model, "estimate", lambda images: pytest.fail("there is no estimator"))
    result = model.restore(photograph, "pixel")
    pixels = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None] / 255.0
    with torch.no_grad():
        backbone = model.bundle.backbone()
        shares = backbone.segment(backbone.encode(pixels)).softmax(dim=1).mean(dim=(0, 2, 3))[1:]
    assert list(result.weights.values()) == pytest.approx(shares.tolist(), abs=1e-4)


def test_soft_weights_are_calibrated(strange: Path, photograph: Image.Image) -> None:
    model = Abair.from_pretrained(strange, "cpu")
    pixels = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None] / 255.0
    with torch.no_grad():
        logits = model.bundle.estimator().eval()(pixels)
    expected = (logits / 2.0).softmax(dim=1)[0, 1:].tolist()
    assert list(model.restore(photograph).weights.values()) == pytest.approx(expected, abs=1e-5)


def test_weights_by_the_estimator_may_be_a_guess(strange: Path, model: Abair, photograph: Image.Image) -> None:
    unlike = Abair.from_pretrained(strange, "cpu")
    for blend in ("soft", "one_hot", "pixel"):
        assert unlike.restore(photograph, blend, with_labels=False).unknown is True
        assert model.restore(photograph, blend, with_labels=False).unknown is False
    for blend in ("rain", "none"):
        assert unlike.restore(photograph, blend, with_labels=False).unknown is False
    assert unlike.restore(photograph, weights={"rain": 1.0}, with_labels=False).unknown is False


def test_a_batch_is_told_apart(strange: Path) -> None:
    model = Abair.from_pretrained(strange, "cpu")
    images = torch.rand(3, 3, 32, 40)
    with torch.no_grad():
        scores = energy_score(model.estimator()(images), 2.0)
    calibration = replace(model.bundle.config.calibration, threshold=scores.sort().values[1].item() + 1e-9)
    model.bundle = replace(model.bundle, config=replace(model.bundle.config, calibration=calibration))
    probabilities, unknown = model.estimate(images)
    assert probabilities.shape == (3, 6)
    assert unknown.tolist() == (scores < scores.max() - 1e-9).tolist()


@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_soft_weights_are_probabilities_to_the_power_of_the_bundle(bundle_path: Path, sharpness: float) -> None:
    """Normalised with that of clean; what is called clean gets none of any adapter."""
    model = Abair.from_pretrained(bundle_path, "cpu")
    calibration = replace(model.bundle.config.calibration, sharpness=sharpness)
    model.bundle = replace(model.bundle, config=replace(model.bundle.config, calibration=calibration))
    images = torch.rand(3, 3, 32, 40)
    probabilities = model.estimate(images)[0]
    powers = probabilities**sharpness
    expected = (powers / powers.sum(dim=1, keepdim=True))[:, 1:] * (probabilities.argmax(dim=1) != 0)[:, None]
    torch.testing.assert_close(model.weights(images)[0], expected)


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
    with pytest.raises(BundleError, match="run phase II, or choose the blend none"):
        model.restore(photograph)


def test_tiles_agree_with_the_whole(bundle_path: Path) -> None:
    """They share what is pooled over all pixels, and overlap by what a pixel sees."""
    image = torch.rand(3, 330, 290, generator=torch.Generator().manual_seed(0))
    whole, tiles = (
        Abair.from_pretrained(bundle_path, "cpu", tile_px=tile_px, overlap_px=110).restore(image, "rain")
        for tile_px in (512, 240)
    )
    assert tiles.restored.shape == whole.restored.shape == image.shape
    assert tiles.labels is not None
    assert whole.labels is not None
    assert (tiles.labels == whole.labels).float().mean() > 0.99
    assert 0.0 < (tiles.restored - whole.restored).abs().max() < 1 / 255


def test_pixelwise_mixtures_are_done_in_tiles_too(bundle_path: Path, names: list[str]) -> None:
    image = torch.rand(3, 330, 290, generator=torch.Generator().manual_seed(0))
    whole, tiles = (
        Abair.from_pretrained(bundle_path, "cpu", tile_px=tile_px, overlap_px=110).restore(image, "pixel")
        for tile_px in (512, 240)
    )
    assert (tiles.restored - whole.restored).abs().max() < 1 / 255
    assert list(whole.weights) == names
    assert 0.0 < sum(whole.weights.values()) <= 1.0


def test_sum_and_average_need_no_estimator(model: Abair, photograph: Image.Image) -> None:
    assert set(model.restore(photograph, "sum").weights.values()) == {1.0}
    assert sum(model.restore(photograph, "average").weights.values()) == pytest.approx(1.0)


def test_images_of_a_batch_larger_than_a_tile_are_done_one_by_one(bundle_path: Path) -> None:
    model = Abair.from_pretrained(bundle_path, "cpu", tile_px=96, overlap_px=32)
    images, weights = torch.rand(2, 3, 100, 80), torch.eye(5)[:2]
    alone = [model.restore_tensor(image[None], row[None]) for image, row in zip(images, weights, strict=True)]
    torch.testing.assert_close(model.restore_tensor(images, weights), torch.cat(alone))


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 1, 40), (3, 40, 7)])
@pytest.mark.parametrize("blend", ["soft", "pixel", "none"])
def test_images_may_be_as_small_as_a_pixel(model: Abair, shape: tuple[int, ...], blend: str) -> None:
    result = model.restore(torch.rand(shape), blend)
    assert result.restored.shape == shape
    assert result.restored.isfinite().all()
    assert result.labels is not None
    assert result.labels.shape == shape[1:]


def test_strength_is_linear_between_the_image_and_what_is_restored(model: Abair) -> None:
    image = torch.rand(3, 40, 56)
    full, half, none = (model.restore(image, "rain", strength=strength).restored for strength in (1.0, 0.5, 0.0))
    assert torch.equal(full, model.restore(image, "rain").restored)
    assert torch.equal(none, image)
    assert not torch.equal(full, image)
    torch.testing.assert_close(half, (image + full) / 2.0)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_an_impossible_strength_is_refused(model: Abair, photograph: Image.Image, strength: float) -> None:
    with pytest.raises(InputError, match=f"strength is {strength:g}; expected 0"):
        model.restore(photograph, strength=strength)


@pytest.mark.parametrize("blend", ["soft", "one_hot"])
def test_passes_restore_what_else_is_found_until_it_is_clean(
    layered: Path, photograph: Image.Image, blend: str
) -> None:
    model = Abair.from_pretrained(layered, device="cpu")
    first = model.restore(photograph, "haze").restored
    second = model.restore(first, "noise").restored
    for passes, restored, names in (
        (1, first, ["haze"]),
        (2, second, ["haze", "noise"]),
        (9, second, ["haze", "noise"]),
    ):
        result = model.restore(photograph, blend, passes=passes)
        torch.testing.assert_close(result.restored, restored, atol=1e-5, rtol=0)
        assert [max(weights, key=weights.__getitem__) for weights in result.of_passes] == names
        assert result.weights == result.of_passes[0]


def test_strength_counts_once_for_all_passes(layered: Path, photograph: Image.Image) -> None:
    model, before = Abair.from_pretrained(layered, device="cpu"), to_pixels(photograph)
    whole, half = (model.restore(photograph, passes=2, strength=strength).restored for strength in (1.0, 0.5))
    torch.testing.assert_close(half, (before + whole) / 2)


def test_what_is_left_out_has_no_probability(layered: Path, photograph: Image.Image) -> None:
    model = Abair.from_pretrained(layered, device="cpu")
    image, names = to_pixels(photograph)[None], model.names
    all_of_them, unknown = model.estimate(image)
    some, still_unknown = model.estimate(image, without=["haze"])
    assert all_of_them[0].argmax() == 1 + names.index("haze")
    assert some[0, 1 + names.index("haze")] == 0.0
    torch.testing.assert_close(some.sum(dim=1), torch.ones(1))
    assert some[0].argmax() == 1 + names.index("noise")
    assert unknown == still_unknown
    assert model.estimate(image, without=names)[0].tolist() == [[1.0] + [0.0] * len(names)]


@pytest.mark.parametrize("blend", ["soft", "one_hot", "pixel"])
def test_the_estimator_is_asked_once_for_an_image_of_many_tiles(
    bundle_path: Path, blend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Abair.from_pretrained(bundle_path, "cpu", tile_px=64, overlap_px=16)
    estimate, asked = model.estimate, []

    def listen(images: Tensor, without: Collection[str] = ()) -> tuple[Tensor, Tensor]:
        asked.append(images)
        return estimate(images, without)

    monkeypatch.setattr(model, "estimate", listen)
    image = torch.rand(3, 120, 90)
    model.restore(image, blend)
    assert [images.shape for images in asked] == [(1, 3, 120, 90)]
    assert torch.equal(asked[0][0], image)


@pytest.fixture
def scarce(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Exception], Abair]:
    """``scarce(largest_px, error)``: a model that raises the error at parts with a longer side."""
    model = Abair.from_pretrained(bundle_path, "cpu")
    forward = model.restorer.forward

    def make(largest_px: int, error: Exception) -> Abair:
        def limited(degraded: Tensor, weights: Tensor | None) -> Tensor:
            if max(degraded.shape[2:]) > largest_px:
                raise error
            return forward(degraded, weights)

        monkeypatch.setattr(model.restorer, "forward", limited)
        return model

    return make


@pytest.mark.parametrize("blend", ["rain", "pixel"])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError(),
    ],
)
def test_where_memory_runs_out_tiles_become_smaller(
    scarce: Callable[[int, Exception], Abair], bundle_path: Path, error: Exception, blend: str
) -> None:
    image = torch.rand(3, 300, 280)
    model = scarce(160, error)
    restored = model.restore(image, blend).restored
    assert (model.tile_px, model.overlap_px) == (150, 56)
    given = Abair.from_pretrained(bundle_path, "cpu", tile_px=150, overlap_px=56)
    torch.testing.assert_close(restored, given.restore(image, blend).restored)


def test_too_little_memory_for_any_tile_is_an_error_of_the_image(
    scarce: Callable[[int, Exception], Abair],
) -> None:
    with pytest.raises(ImageError, match="too little memory for 280 x 300 pixels, even in small tiles; close"):
        scarce(20, MemoryError()).restore(torch.rand(3, 300, 280), "rain")


def test_other_errors_are_not_taken_for_want_of_memory(scarce: Callable[[int, Exception], Abair]) -> None:
    with pytest.raises(RuntimeError, match="sizes do not match"):
        scarce(20, RuntimeError("sizes do not match")).restore(torch.rand(3, 40, 40), "rain")


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
    with pytest.raises(InputError, match=r"unknown blend 'rian'; expected .*soft, .*none, rain.*did you mean 'rain'"):
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


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@CUDA
@pytest.mark.parametrize("blend", ["soft", "one_hot", "pixel", "sum", "none", "rain"])
def test_a_gpu_restores_as_a_cpu_does(bundle_path: Path, photograph: Image.Image, blend: str) -> None:
    here, there = (Abair.from_pretrained(bundle_path, device).restore(photograph, blend) for device in ("cpu", "cuda"))
    assert (there.restored - here.restored).abs().max() < 5e-3  # of TF32 and other orders of sums
    assert there.weights == pytest.approx(here.weights, abs=5e-3)


@CUDA
def test_a_gpu_whose_memory_runs_out_gets_smaller_tiles(bundle_path: Path) -> None:
    model = Abair.from_pretrained(bundle_path, "cuda", tile_px=4096)
    image = torch.rand(3, 2048, 2048)
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(300 * 2**20 / total)
    try:
        result = model.restore(image, "none")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert model.tile_px is not None
    assert model.tile_px < 2048
    assert result.restored.shape == image.shape


@pytest.mark.parametrize("overlap_px", [-1, 16])
def test_impossible_tiles_are_refused(bundle_path: Path, photograph: Image.Image, overlap_px: int) -> None:
    model = Abair.from_pretrained(bundle_path, "cpu", tile_px=32, overlap_px=overlap_px)
    with pytest.raises(InputError, match=f"overlap is {overlap_px} px and tile 32 px"):
        model.restore(photograph, "none")
