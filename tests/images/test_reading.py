import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
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
    turned,
)

from abair_pl.errors import ImageError
from abair_pl.images import read_photograph


class TestRead:
    @pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif"])
    def test_lossless_files_give_their_pixels(self, save: Save, name: str) -> None:
        photograph = read_photograph(save(PIXELS, name))
        assert photograph.pixels.shape == (3, 20, 30)
        assert photograph.pixels.dtype == torch.float32
        assert torch.equal(photograph.pixels, torch.from_numpy(PIXELS).permute(2, 0, 1) / 255)

    @pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
    def test_lossy_files_give_nearly_their_pixels(self, save: Save, name: str) -> None:
        assert off_by(read_photograph(save(SMOOTH, name, quality=95)), SMOOTH) < 12

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied_and_taken_out(self, save: Save, orientation: int) -> None:
        photograph = read_photograph(save(SMOOTH, "a.jpg", quality=95, exif=exif_block(orientation)))
        assert off_by(photograph, turned(SMOOTH, orientation)) < 12
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
    @pytest.mark.parametrize(("mode", "space"), [("CMYK", b"CMYK"), ("L", b"RGB "), ("RGB", b"GRAY")])
    def test_a_profile_for_other_colours_is_dropped(self, save: Save, name: str, mode: str, space: bytes) -> None:
        profile = ICC[:16] + space + ICC[20:]
        path = save(Image.fromarray(PIXELS).convert(mode), name, icc_profile=profile)
        with Image.open(path) as image:
            assert (image.mode, image.info["icc_profile"]) == (mode, profile)
        assert read_photograph(path).icc_profile is None

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
    def test_a_profile_for_grey_is_kept_with_grey(self, save: Save, name: str) -> None:
        assert read_photograph(save(ALPHA, name, icc_profile=GREY_ICC)).icc_profile == GREY_ICC

    @pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
    def test_inks_are_converted_which_is_noted(self, save: Save, name: str) -> None:
        inks = Image.fromarray(SMOOTH).convert("CMYK")
        photograph = read_photograph(save(inks, name))
        assert photograph.notes == ("CMYK was converted to RGB, without its colour profile",)
        assert off_by(photograph, np.asarray(inks.convert("RGB"))) < 12
        assert not photograph.grey
        assert read_photograph(save(SMOOTH, name)).notes == ()

    @pytest.mark.parametrize(("mode", "grey"), [("1", True), ("L", True), ("LA", True), ("RGB", False), ("P", False)])
    def test_grey_is_told_from_colour(self, save: Save, mode: str, grey: bool) -> None:
        photograph = read_photograph(save(Image.fromarray(PIXELS).convert(mode)))
        assert (photograph.grey, photograph.bits) == (grey, 8)

    def test_bytes_are_read_as_a_file_is(self, save: Save) -> None:
        path = save(np.dstack([PIXELS, ALPHA]), icc_profile=ICC)
        photograph, same = read_photograph(path), read_photograph(io.BytesIO(path.read_bytes()))
        assert torch.equal(photograph.pixels, same.pixels)
        assert same.icc_profile == ICC
        with pytest.raises(ImageError, match="standard input: not a readable image"):
            read_photograph(io.BytesIO(b"text"), "standard input")

    def test_alpha_is_kept_beside_the_colours(self, save: Save) -> None:
        photograph = read_photograph(save(np.dstack([PIXELS, ALPHA])))
        assert off_by(photograph, PIXELS) == 0
        assert photograph.alpha is not None
        assert torch.equal(photograph.alpha, torch.from_numpy(ALPHA) / 255)

    def test_grey_becomes_three_equal_channels(self, save: Save) -> None:
        assert off_by(read_photograph(save(ALPHA)), np.dstack([ALPHA] * 3)) == 0
        with_alpha = read_photograph(save(Image.merge("LA", [Image.fromarray(ALPHA), Image.fromarray(PIXELS[..., 0])])))
        assert off_by(with_alpha, np.dstack([ALPHA] * 3)) == 0
        assert with_alpha.alpha is not None

    def test_a_palette_becomes_its_colours_and_its_transparency(self, save: Save) -> None:
        indexed = Image.fromarray(PIXELS).quantize(16)
        expected = np.asarray(indexed.convert("RGB"))
        assert off_by(read_photograph(save(indexed)), expected) == 0
        photograph = read_photograph(save(indexed, transparency=3))
        assert photograph.alpha is not None
        assert torch.equal(photograph.alpha == 0, torch.from_numpy(np.asarray(indexed) == 3))

    def test_one_bit_becomes_black_and_white(self, save: Save) -> None:
        assert off_by(read_photograph(save(ALPHA > 127)), np.dstack([(ALPHA > 127) * 255] * 3)) == 0

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_16_bit_grey_keeps_its_shades(self, save: Save, name: str) -> None:
        grey = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
        photograph = read_photograph(save(grey, name))
        assert np.array_equal(levels(photograph, 65535), np.dstack([grey] * 3))
        assert (photograph.grey, photograph.bits) == (True, 16)

    def test_16_bit_grey_with_transparency_keeps_its_shades(self, save: Save) -> None:
        grey = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
        assert off_by(read_photograph(save(grey, transparency=int(grey[3, 3]))), np.dstack([grey / 257.0] * 3)) <= 1

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
        assert off_by(read_photograph(path), SMOOTH) <= error

    def test_float_grey_is_taken_as_zero_to_one(self, save: Save) -> None:
        grey = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
        assert off_by(read_photograph(save(grey, "a.tif")), np.dstack([grey * 255] * 3)) <= 1

    @pytest.mark.parametrize(("kind", "most"), [(np.float32, 4.0), (np.int32, 100_000)])
    def test_grey_that_would_be_clipped_is_refused(self, save: Save, kind: type, most: float) -> None:
        grey: NDArray[Any] = np.linspace(0, most, 600).reshape(20, 30).astype(kind)
        with pytest.raises(ImageError, match=f"values up to {most:g}; expected at most"):
            read_photograph(save(grey, "in.tif"))

    def test_transparency_of_a_palette_is_read_without_a_warning(
        self, save: Save, recwarn: pytest.WarningsRecorder
    ) -> None:
        picture = Image.fromarray(SMOOTH).quantize(8)
        read_photograph(save(picture, "in.png", transparency=bytes(range(8))))
        assert not recwarn.list

    def test_damaged_exif_does_not_cost_the_photograph(self, save: Save) -> None:
        exif = bytearray(exif_block().tobytes())
        exif[17] = 0  # the maker's type is none that exists
        photograph = read_photograph(save(SMOOTH, "a.jpg", quality=95, exif=bytes(exif)))
        assert off_by(photograph, SMOOTH) < 12


class TestRefuse:
    @pytest.mark.parametrize("name", ["a.webp", "a.png"])
    def test_animations(self, save: Save, name: str) -> None:
        frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1].copy())]
        path = save(frames[0], name, save_all=True, append_images=frames[1:])
        with pytest.raises(ImageError, match=r"an animation of 2 frames; expected a single image"):
            read_photograph(path)

    @pytest.mark.parametrize("frames", [1, 2])
    def test_a_gif_whatever_its_name(self, save: Save, frames: int) -> None:
        others = [Image.fromarray(PIXELS[::-1].copy())] * (frames - 1)
        path = save(PIXELS, "a.gif", save_all=True, append_images=others)
        for name in ("a.gif", "renamed.png"):
            with pytest.raises(
                ImageError, match=rf"{name}: a GIF, which may be an animation; .*one frame of it as PNG"
            ):
                read_photograph(path.rename(path.with_name(name)))
            path = path.with_name(name)

    @pytest.mark.parametrize("name", ["a.ppm", "a.eps"])
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
