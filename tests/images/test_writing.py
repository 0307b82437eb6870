from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import GPS, IFD
from PIL.ExifTags import Base as Exif
from tests.images.samples import (
    ALPHA,
    GREY_ICC,
    ICC,
    MAKER,
    ORIENTATION,
    PIXELS,
    SMOOTH,
    Save,
    exif_block,
    levels,
    off_by,
)

from abair_pl.errors import AbairError, ImageError
from abair_pl.images import Photograph, encode_photograph, read_photograph, write_photograph

LOSSLESS = ["png", "tif", "tiff"]


class TestWrite:
    @pytest.fixture
    def photograph(self) -> Photograph:
        """With everything that a file can carry."""
        exif = exif_block()
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
        assert off_by(back, SMOOTH) < 20
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
        exif = exif_block(6)
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
    def test_a_tiff_of_inks_is_written_back_as_rgb(self, save: Save, tmp_path: Path, compression: str) -> None:
        image = Image.fromarray(PIXELS).convert("CMYK")
        path = save(image, "in.tif", compression=compression, exif=exif_block())
        write_photograph(read_photograph(path), tmp_path / "out.tif")
        with Image.open(tmp_path / "out.tif") as written:
            assert written.mode == "RGB"
        assert off_by(read_photograph(tmp_path / "out.tif"), np.asarray(image.convert("RGB"))) == 0

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
    @pytest.mark.parametrize("suffix", ["tif", "png"])
    def test_grey_of_16_bits_stays_so_with_all_that_goes_with_it(
        self, save: Save, tmp_path: Path, compression: str, suffix: str
    ) -> None:
        grey = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
        source = save(grey, "in.tif", compression=compression, exif=exif_block(), icc_profile=GREY_ICC)
        path = tmp_path / f"out.{suffix}"
        write_photograph(read_photograph(source), path)
        with Image.open(path) as written:
            assert written.mode == "I;16"
            assert np.array_equal(np.asarray(written), grey)
            assert written.getexif()[MAKER] == "Maker"
            assert written.info["icc_profile"] == GREY_ICC

    @pytest.mark.parametrize(("suffix", "mode"), [("png", "L"), ("tif", "L"), ("jpg", "L"), ("webp", "RGB")])
    def test_grey_stays_grey_where_the_format_has_it(self, save: Save, tmp_path: Path, suffix: str, mode: str) -> None:
        grey = np.ascontiguousarray(SMOOTH[..., 1])
        path = tmp_path / f"out.{suffix}"
        write_photograph(read_photograph(save(grey, icc_profile=GREY_ICC)), path)
        with Image.open(path) as written:
            assert written.mode == mode
            assert written.info.get("icc_profile") == (GREY_ICC if mode == "L" else None)
        assert off_by(read_photograph(path), np.dstack([grey] * 3)) < (5 if suffix in ("jpg", "webp") else 1)

    @pytest.mark.parametrize(("suffix", "mode"), [("png", "LA"), ("tif", "LA"), ("jpg", "L"), ("webp", "RGBA")])
    def test_grey_with_alpha(self, save: Save, tmp_path: Path, suffix: str, mode: str) -> None:
        source = save(Image.merge("LA", [Image.fromarray(SMOOTH[..., 1].copy()), Image.fromarray(ALPHA)]))
        write_photograph(read_photograph(source), tmp_path / f"out.{suffix}")
        with Image.open(tmp_path / f"out.{suffix}") as written:
            assert written.mode == mode
            assert mode == "L" or np.array_equal(np.asarray(written.getchannel("A")), ALPHA)

    def test_grey_is_the_mean_of_what_was_restored(self, tmp_path: Path) -> None:
        pixels = torch.tensor([0.2, 0.4, 0.9]).view(3, 1, 1).expand(3, 4, 4)
        write_photograph(Photograph(pixels, grey=True), tmp_path / "out.png")
        assert np.asarray(Image.open(tmp_path / "out.png"))[0, 0] == round(0.5 * 255)

    @pytest.mark.parametrize("suffix", ["jpg", "webp"])
    def test_less_quality_takes_less_space(self, tmp_path: Path, suffix: str) -> None:
        photograph, sizes = Photograph(torch.rand(3, 64, 64)), []
        for quality in (20, 95):
            write_photograph(photograph, tmp_path / f"out.{suffix}", quality)
            sizes.append((tmp_path / f"out.{suffix}").stat().st_size)
        assert sizes[0] < 0.8 * sizes[1]

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
    def test_encoded_bytes_are_those_of_the_file(self, photograph: Photograph, tmp_path: Path, suffix: str) -> None:
        write_photograph(photograph, tmp_path / f"out.{suffix}")
        assert encode_photograph(photograph, suffix) == (tmp_path / f"out.{suffix}").read_bytes()

    @pytest.mark.parametrize(("suffix", "most_px"), [("jpg", 65_500), ("webp", 16_383)])
    def test_an_image_too_long_for_the_format_is_refused(self, tmp_path: Path, suffix: str, most_px: int) -> None:
        path = tmp_path / f"out.{suffix}"
        write_photograph(Photograph(torch.zeros(3, 1, most_px), grey=True), path)
        path.unlink()
        for shape in ((3, 1, most_px + 1), (3, most_px + 1, 1)):
            long = Photograph(torch.zeros(shape), grey=True)
            with pytest.raises(ImageError, match=f"takes up to {most_px} a side: choose another --format"):
                write_photograph(long, path)
            with pytest.raises(ImageError, match=f"takes up to {most_px} a side"):
                encode_photograph(long, suffix)
        assert not list(tmp_path.iterdir())

    def test_webp_is_written_better_than_by_default(self, save: Save, tmp_path: Path) -> None:
        grain = np.dstack([ALPHA] * 3)  # grey, for WebP halves the resolution of colours at any quality
        write_photograph(read_photograph(save(grain)), tmp_path / "out.webp")
        errors = [
            np.abs(levels(read_photograph(path)) - grain).mean()
            for path in (tmp_path / "out.webp", save(grain, "default.webp"))
        ]
        assert errors[0] < 0.7 * errors[1]

    def test_jpeg_leaves_alpha_out(self, photograph: Photograph, tmp_path: Path) -> None:
        write_photograph(photograph, tmp_path / "out.jpg")
        assert read_photograph(tmp_path / "out.jpg").alpha is None

    def test_a_turned_photograph_stays_upright_when_written_and_read_again(self, save: Save, tmp_path: Path) -> None:
        photograph = read_photograph(save(SMOOTH, "in.jpg", quality=95, exif=exif_block(6)))
        write_photograph(photograph, tmp_path / "out.png")
        assert torch.equal(read_photograph(tmp_path / "out.png").pixels, photograph.pixels.mul(255).round() / 255)

    def test_nothing_but_the_file_is_left(self, photograph: Photograph, tmp_path: Path) -> None:
        write_photograph(photograph, tmp_path / "out.png")
        assert [path.name for path in tmp_path.iterdir()] == ["out.png"]

    def test_a_folder_in_the_way_is_named(self, photograph: Photograph, tmp_path: Path) -> None:
        (tmp_path / "out.png").mkdir()
        with pytest.raises(ImageError, match=r"out.png \(Is a directory\); rename the photograph"):
            write_photograph(photograph, tmp_path / "out.png")
        assert [path.name for path in tmp_path.iterdir()] == ["out.png"]

    def test_a_name_may_be_as_long_as_file_systems_have_it(self, photograph: Photograph, tmp_path: Path) -> None:
        path = tmp_path / ("x" * 251 + ".png")
        write_photograph(photograph, path)
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
        with pytest.raises(ImageError, match=r"too long.*rename"):
            write_photograph(photograph, tmp_path / ("x" * 252 + ".png"))

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
