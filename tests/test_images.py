import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import GPS, IFD
from PIL.ExifTags import Base as Exif

from abair_pl.errors import AbairError, ImageError
from abair_pl.images import Photograph, find_images, read_photograph, to_8bit, write_photograph

Save = Callable[..., Path]
ORIENTATION, MAKER = 274, 271
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (20, 30), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:200:20j, 50:250:30j], 90), axis=2).astype(np.uint8)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ["png", "tif", "tiff"]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """``save(image or array, name, **options)``: the path of an image file."""

    def write(image: Image.Image | NDArray[Any], name: str = "photo.png", **options: Any) -> Path:
        path = tmp_path / name
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
        return path

    return write


def _exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKER] = "Maker"
    return exif


def _levels(photograph: Photograph) -> NDArray[np.int64]:
    """Pixels as ``(H, W, 3)`` in [0, 255]."""
    return (photograph.pixels * 255).round().permute(1, 2, 0).numpy().astype(np.int64)


def _off_by(photograph: Photograph, expected: NDArray[Any]) -> int:
    return int(np.abs(_levels(photograph) - expected.astype(np.int64)).max())


class TestRead:
    @pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif"])
    def test_lossless_files_give_their_pixels(self, save: Save, name: str) -> None:
        photograph = read_photograph(save(PIXELS, name))
        assert photograph.pixels.shape == (3, 20, 30)
        assert photograph.pixels.dtype == torch.float32
        assert torch.equal(photograph.pixels, torch.from_numpy(PIXELS).permute(2, 0, 1) / 255)

    @pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
    def test_lossy_files_give_nearly_their_pixels(self, save: Save, name: str) -> None:
        assert _off_by(read_photograph(save(SMOOTH, name, quality=95)), SMOOTH) < 12

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied_and_taken_out(self, save: Save, orientation: int) -> None:
        upright = {
            1: SMOOTH,
            2: SMOOTH[:, ::-1],
            3: SMOOTH[::-1, ::-1],
            4: SMOOTH[::-1],
            5: SMOOTH.transpose(1, 0, 2),
            6: np.rot90(SMOOTH, -1),
            7: SMOOTH[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(SMOOTH),
        }
        photograph = read_photograph(save(SMOOTH, "a.jpg", quality=95, exif=_exif(orientation)))
        assert _off_by(photograph, upright[orientation]) < 12
        assert photograph.exif is not None
        left = Image.Exif()
        left.load(photograph.exif)
        assert left.get(ORIENTATION, 1) == 1
        assert left[MAKER] == "Maker"

    def test_a_file_without_extras_has_none(self, save: Save) -> None:
        photograph = read_photograph(save(PIXELS))
        assert photograph.alpha is None
        assert photograph.icc_profile is None
        assert photograph.exif is None

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
    def test_the_colour_profile_is_kept(self, save: Save, name: str) -> None:
        assert read_photograph(save(PIXELS, name, icc_profile=ICC)).icc_profile == ICC

    @pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
    @pytest.mark.parametrize(("mode", "space"), [("CMYK", b"CMYK"), ("L", b"GRAY")])
    def test_a_profile_for_colours_converted_from_is_dropped(
        self, save: Save, name: str, mode: str, space: bytes
    ) -> None:
        profile = ICC[:16] + space + ICC[20:]
        path = save(Image.fromarray(PIXELS).convert(mode), name, icc_profile=profile)
        with Image.open(path) as image:
            assert (image.mode, image.info["icc_profile"]) == (mode, profile)
        assert read_photograph(path).icc_profile is None

    def test_alpha_is_kept_beside_the_colours(self, save: Save) -> None:
        photograph = read_photograph(save(np.dstack([PIXELS, ALPHA])))
        assert _off_by(photograph, PIXELS) == 0
        assert photograph.alpha is not None
        assert torch.equal(photograph.alpha, torch.from_numpy(ALPHA) / 255)

    def test_grey_becomes_three_equal_channels(self, save: Save) -> None:
        assert _off_by(read_photograph(save(ALPHA)), np.dstack([ALPHA] * 3)) == 0
        with_alpha = read_photograph(save(Image.merge("LA", [Image.fromarray(ALPHA), Image.fromarray(PIXELS[..., 0])])))
        assert _off_by(with_alpha, np.dstack([ALPHA] * 3)) == 0
        assert with_alpha.alpha is not None

    def test_a_palette_becomes_its_colours_and_its_transparency(self, save: Save) -> None:
        indexed = Image.fromarray(PIXELS).quantize(16)
        expected = np.asarray(indexed.convert("RGB"))
        assert _off_by(read_photograph(save(indexed)), expected) == 0
        photograph = read_photograph(save(indexed, transparency=3))
        assert photograph.alpha is not None
        assert torch.equal(photograph.alpha == 0, torch.from_numpy(np.asarray(indexed) == 3))

    def test_one_bit_becomes_black_and_white(self, save: Save) -> None:
        assert _off_by(read_photograph(save(ALPHA > 127)), np.dstack([(ALPHA > 127) * 255] * 3)) == 0

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_16_bit_grey_keeps_its_shades(self, save: Save, name: str) -> None:
        grey = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
        assert _off_by(read_photograph(save(grey, name)), np.dstack([grey / 257.0] * 3)) <= 1

    def test_16_bit_grey_with_transparency_keeps_its_shades(self, save: Save) -> None:
        grey = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
        assert _off_by(read_photograph(save(grey, transparency=int(grey[3, 3]))), np.dstack([grey / 257.0] * 3)) <= 1

    def test_16_bit_grey_is_transparent_at_one_shade_alone(self, save: Save) -> None:
        grey = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
        grey[10, 10] = grey[3, 3]
        alpha = read_photograph(save(grey, transparency=int(grey[3, 3]))).alpha
        assert alpha is not None
        assert (alpha == 0).nonzero().tolist() == [[3, 3], [10, 10]]
        assert alpha.sum() == grey.size - 2

    @pytest.mark.parametrize(("name", "kind", "error"), [("a.jpg", "MPO", 12), ("a.tif", "TIFF", 0)])
    def test_of_several_views_or_pages_the_first_is_read(self, save: Save, name: str, kind: str, error: int) -> None:
        others = [Image.fromarray(SMOOTH[::-1].copy()), Image.fromarray(255 - SMOOTH)]
        path = save(SMOOTH, name, format=kind, save_all=True, append_images=others, quality=95)
        with Image.open(path) as image:
            assert (image.format, getattr(image, "n_frames", 1)) == (kind, 3)
        assert _off_by(read_photograph(path), SMOOTH) <= error

    def test_float_grey_is_taken_as_zero_to_one(self, save: Save) -> None:
        grey = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
        assert _off_by(read_photograph(save(grey, "a.tif")), np.dstack([grey * 255] * 3)) <= 1

    def test_damaged_exif_does_not_cost_the_photograph(self, save: Save) -> None:
        exif = bytearray(_exif().tobytes())
        exif[17] = 0  # the maker's type is none that exists
        photograph = read_photograph(save(SMOOTH, "a.jpg", quality=95, exif=bytes(exif)))
        assert _off_by(photograph, SMOOTH) < 12


class TestRefuse:
    @pytest.mark.parametrize("name", ["a.webp", "a.png"])
    def test_animations(self, save: Save, name: str) -> None:
        frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1].copy())]
        path = save(frames[0], name, save_all=True, append_images=frames[1:])
        with pytest.raises(ImageError, match=r"an animation of 2 frames; expected a single image"):
            read_photograph(path)

    @pytest.mark.parametrize("name", ["a.gif", "a.ppm", "a.eps"])
    def test_formats_off_the_list(self, save: Save, name: str) -> None:
        path = save(PIXELS, name)
        with pytest.raises(ImageError, match=rf"{name}: not a readable image \(no known image format\)"):
            read_photograph(path)

    @pytest.mark.parametrize("data", [b"", b"just text", b"\x89PNG\r\n\x1a\n"])
    def test_files_that_only_have_the_name_of_an_image(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "text.png"
        path.write_bytes(data)
        with pytest.raises(ImageError, match=r"text\.png: not a readable image"):
            read_photograph(path)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif"])
    @pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
    def test_files_cut_short(self, save: Save, name: str, kept: float) -> None:
        path = save(PIXELS, name)
        data = path.read_bytes()
        path.write_bytes(data[: int(kept * len(data))])
        with pytest.raises(ImageError, match=f"{name}: not a readable image"):
            read_photograph(path)

    def test_a_header_of_too_many_pixels(self, tmp_path: Path) -> None:
        body = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
        path = tmp_path / "huge.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r" + body + struct.pack(">I", zlib.crc32(body)) + bytes(99))
        with pytest.raises(ImageError, match=r"huge\.png"):
            read_photograph(path)

    def test_folders_and_missing_files(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "missing.png"):
            with pytest.raises(ImageError, match="not a readable image"):
                read_photograph(path)


class TestFind:
    def test_files_and_folders_in_order(self, save: Save, tmp_path: Path) -> None:
        for name in ("b.png", "a.JPG", "c.webp"):
            save(PIXELS, name)
        (tmp_path / "notes.txt").write_text("not an image")
        other = save(PIXELS, "z.gif")
        assert [path.name for path in find_images([other, tmp_path])] == ["z.gif", "a.JPG", "b.png", "c.webp"]

    def test_folders_named_like_images_are_left_out(self, save: Save, tmp_path: Path) -> None:
        path = save(PIXELS)
        (tmp_path / "folder.png").mkdir()
        assert find_images([tmp_path]) == [path]

    def test_nothing_to_find_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="has no images; expected files named"):
            find_images([tmp_path])
        with pytest.raises(ImageError, match=r"no image at .*missing\.png"):
            find_images([tmp_path / "missing.png"])


class TestWrite:
    @pytest.fixture
    def photograph(self) -> Photograph:
        """With everything that a file can carry."""
        exif = _exif()
        del exif[ORIENTATION]
        alpha = torch.from_numpy(ALPHA) / 255
        return Photograph(torch.from_numpy(SMOOTH).permute(2, 0, 1) / 255, alpha, ICC, exif.tobytes())

    @pytest.mark.parametrize("suffix", LOSSLESS)
    def test_lossless_files_come_back_whole(self, photograph: Photograph, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"out.{suffix}"
        write_photograph(photograph, path)
        back = read_photograph(path)
        assert torch.equal(back.pixels, photograph.pixels)
        assert back.alpha is not None
        assert photograph.alpha is not None
        assert torch.equal(back.alpha, photograph.alpha)
        assert back.icc_profile == ICC

    @pytest.mark.parametrize("suffix", ["jpg", "JPEG", "webp"])
    def test_lossy_files_come_back_nearly(self, photograph: Photograph, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"out.{suffix}"
        write_photograph(Photograph(photograph.pixels, None, ICC, photograph.exif), path)
        back = read_photograph(path)
        assert _off_by(back, SMOOTH) < 20
        assert back.icc_profile == ICC

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
    def test_exif_is_kept(self, photograph: Photograph, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"out.{suffix}"
        write_photograph(photograph, path)
        with Image.open(path) as image:
            assert image.getexif()[MAKER] == "Maker"

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
    @pytest.mark.parametrize("source", ["in.jpg", "in.png", "in.tif"])
    def test_what_exif_tells_of_the_photograph_survives_and_its_orientation_does_not(
        self, save: Save, tmp_path: Path, source: str, suffix: str
    ) -> None:
        told: dict[int, object] = {MAKER: "Maker", Exif.Copyright: "A Person", Exif.DateTime: "2024:05:06 07:08:09"}
        taken: dict[int, object] = {Exif.DateTimeOriginal: "2024:05:06 07:08:00", Exif.ISOSpeedRatings: 800}
        place: dict[int, object] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (60.0, 10.0, 30.0)}
        exif = _exif(6)
        exif.update(told)
        exif.get_ifd(IFD.Exif).update(taken)
        exif.get_ifd(IFD.GPSInfo).update(place)
        write_photograph(read_photograph(save(SMOOTH, source, exif=exif.tobytes())), tmp_path / f"out.{suffix}")
        with Image.open(tmp_path / f"out.{suffix}") as image:
            left = image.getexif()
            assert image.size == (20, 30)
            assert ORIENTATION not in left
            assert left.items() >= told.items()
            assert left.get_ifd(IFD.Exif).items() >= taken.items()
            assert left.get_ifd(IFD.GPSInfo).items() >= place.items()

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
    @pytest.mark.parametrize("mode", ["CMYK", "I;16"])
    def test_a_tiff_of_other_pixels_is_written_back_as_one_of_8_bit_rgb(
        self, save: Save, tmp_path: Path, mode: str, compression: str
    ) -> None:
        grey = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
        image = Image.fromarray(PIXELS).convert("CMYK") if mode == "CMYK" else Image.fromarray(grey)
        expected = np.asarray(image.convert("RGB")) if mode == "CMYK" else np.dstack([(grey / 257.0).round()] * 3)
        assert image.mode == mode
        path = save(image, "in.tif", compression=compression, exif=_exif())
        write_photograph(read_photograph(path), tmp_path / "out.tif")
        with Image.open(tmp_path / "out.tif") as written:
            assert written.mode == "RGB"
        back = read_photograph(tmp_path / "out.tif")
        assert back.pixels.shape == (3, 20, 30)
        assert _off_by(back, expected) == 0

    def test_webp_is_written_better_than_by_default(self, save: Save, tmp_path: Path) -> None:
        grain = np.dstack([ALPHA] * 3)  # grey, for WebP halves the resolution of colours at any quality
        write_photograph(read_photograph(save(grain)), tmp_path / "out.webp")
        errors = [
            np.abs(_levels(read_photograph(path)) - grain).mean()
            for path in (tmp_path / "out.webp", save(grain, "default.webp"))
        ]
        assert errors[0] < 0.7 * errors[1]

    def test_jpeg_leaves_alpha_out(self, photograph: Photograph, tmp_path: Path) -> None:
        write_photograph(photograph, tmp_path / "out.jpg")
        assert read_photograph(tmp_path / "out.jpg").alpha is None

    def test_a_turned_photograph_stays_upright_when_written_and_read_again(self, save: Save, tmp_path: Path) -> None:
        photograph = read_photograph(save(SMOOTH, "in.jpg", quality=95, exif=_exif(6)))
        write_photograph(photograph, tmp_path / "out.png")
        assert torch.equal(read_photograph(tmp_path / "out.png").pixels, photograph.pixels.mul(255).round() / 255)

    def test_nothing_but_the_file_is_left(self, photograph: Photograph, tmp_path: Path) -> None:
        write_photograph(photograph, tmp_path / "out.png")
        assert [path.name for path in tmp_path.iterdir()] == ["out.png"]

    def test_a_folder_in_the_way_is_named(self, photograph: Photograph, tmp_path: Path) -> None:
        (tmp_path / "out.png").mkdir()
        with pytest.raises(AbairError, match=r"out.png \(Is a directory\)"):
            write_photograph(photograph, tmp_path / "out.png")
        assert [path.name for path in tmp_path.iterdir()] == ["out.png"]

    def test_a_failure_leaves_the_old_file_and_no_partial(
        self, photograph: Photograph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(image: Image.Image, path: Path, *_: object, **__: object) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        old = tmp_path / "out.png"
        old.write_bytes(b"old")
        monkeypatch.setattr(Image.Image, "save", fail)
        with pytest.raises(AbairError, match=r"cannot write .*out.png \(No space left on device\); make room"):
            write_photograph(photograph, old)
        assert old.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [old]

    @pytest.mark.parametrize("name", ["out.gif", "out.bmp", "out", "out.png.txt"])
    def test_formats_that_cannot_be_written_are_refused(
        self, photograph: Photograph, tmp_path: Path, name: str
    ) -> None:
        with pytest.raises(ImageError, match=r"cannot write .*; expected a suffix of png, jpg"):
            write_photograph(photograph, tmp_path / name)
        assert not list(tmp_path.iterdir())


def test_to_8bit_rounds_and_clamps() -> None:
    pixels = torch.tensor([-0.1, 0.0, 0.4 / 255, 0.6 / 255, 127.5 / 255, 1.0, 1.2]).expand(3, 1, 7)
    assert np.asarray(to_8bit(pixels))[0, :, 0].tolist() == [0, 0, 0, 1, 128, 255, 255]
