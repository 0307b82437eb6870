from pathlib import Path

import pytest
import torch
from PIL import Image

from abair_pl.app.handlers import UNKNOWN, Limits, at_strength, find, in_words, read_upload, restore_by
from abair_pl.errors import ImageError, InputError
from abair_pl.images import Photograph
from abair_pl.restore import Abair


@pytest.fixture
def opened(photograph: Path) -> Photograph:
    return read_upload(photograph, Limits())


def test_what_is_found_is_what_restore_finds(model: Abair, opened: Photograph) -> None:
    finding, expected = find(model, opened), model.restore(opened.pixels)
    assert finding.weights == expected.weights
    assert finding.words == in_words(expected.weights, guess=False)
    assert finding.labels is not None
    assert finding.labels.shape == opened.pixels.shape[1:]
    assert torch.equal(finding.restored, expected.restored)


def test_estimated_weights_by_hand_give_what_was_found(model: Abair, opened: Photograph) -> None:
    finding = find(model, opened)
    torch.testing.assert_close(restore_by(model, opened, finding.weights), finding.restored)


def test_weights_by_hand_are_those_of_the_adapters(model: Abair, opened: Photograph) -> None:
    nothing = dict.fromkeys(model.names, 0.0)
    by_hand = restore_by(model, opened, {**nothing, "noise": 1.0})
    torch.testing.assert_close(by_hand, model.restore(opened.pixels, "noise").restored)
    assert not torch.allclose(by_hand, restore_by(model, opened, {**nothing, "haze": 1.0}))
    assert torch.equal(restore_by(model, opened, nothing), opened.pixels)


def test_damage_of_another_kind_is_told(strange: Path, opened: Photograph) -> None:
    assert find(Abair.from_pretrained(strange, device="cpu"), opened).words == UNKNOWN


def test_strength_leads_from_the_photograph_to_the_restored_one(opened: Photograph) -> None:
    restored = 1.0 - opened.pixels
    assert torch.equal(at_strength(opened, restored, 0.0).pixels, opened.pixels)
    torch.testing.assert_close(at_strength(opened, restored, 1.0).pixels, restored)
    torch.testing.assert_close(at_strength(opened, restored, 0.5).pixels, torch.full_like(restored, 0.5))


def test_strength_keeps_what_belongs_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "glass.png"
    image = Image.new("RGBA", (12, 10), (200, 100, 50, 128))
    image.save(path, exif=_exif())
    opened = read_upload(path, Limits())
    faded = at_strength(opened, opened.pixels, 0.3)
    assert faded.alpha is opened.alpha is not None
    assert faded.exif == opened.exif is not None


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x013B] = "somebody"
    return exif


def test_an_image_of_too_many_pixels_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (1200, 1000)).save(path)
    assert read_upload(path, Limits(megapixels=1.2)).pixels.shape == (3, 1000, 1200)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was unpacked"))
    message = r"^large\.png: 1200 x 1000 pixels; expected at most 1.1 megapixels: scale it down$"
    with pytest.raises(ImageError, match=message):
        read_upload(path, Limits(megapixels=1.1))


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(photograph: Path) -> None:
    size_bytes = photograph.stat().st_size
    assert Limits(upload_mb=2.5).upload_bytes == 2_621_440
    assert read_upload(photograph, Limits(upload_mb=size_bytes / (1 << 20)))
    message = r"^photo-0\.png: 0\.0 MB; expected at most 0\.001 MB: save it with less quality$"
    with pytest.raises(ImageError, match=message):
        read_upload(photograph, Limits(upload_mb=0.001))


@pytest.mark.parametrize("kind", ["text", "gif", "animation"])
def test_what_is_no_photograph_is_refused_by_its_name_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "holiday.png"
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    if kind == "text":
        path.write_text("not an image")
    elif kind == "gif":
        frames[0].save(path, "GIF")
    else:
        frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"^holiday\.png: ") as caught:
        read_upload(path, Limits())
    assert str(tmp_path) not in str(caught.value)


def test_weights_have_to_be_numbers(model: Abair, opened: Photograph) -> None:
    with pytest.raises(InputError, match="the weight of rain is nan"):
        restore_by(model, opened, {"rain": float("nan")})


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"rain": 0.71, "blur": 0.12, "noise": 0.17}, "rain 71 %, noise 17 %, blur 12 %"),
        ({"rain": 0.2, "low_light": 0.2}, "clean 60 %, rain 20 %, low light 20 %"),
        ({"rain": 0.049, "blur": 0.0}, "clean"),
        ({"rain": 0.999, "blur": 0.001}, "rain 100 %"),
    ],
)
def test_words(weights: dict[str, float], words: str) -> None:
    assert in_words(weights, guess=False).replace("\N{NO-BREAK SPACE}", " ") == words
    assert in_words(weights, guess=True) == UNKNOWN
