"""Files of 16 bits a channel, in and out."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD
from PIL.ExifTags import Base as Exif
from tests.images.samples import ALPHA, DEEP, DEEP_ALPHA, ICC, MAKER, exif_block, levels, turned

from abair_pl.errors import ImageError
from abair_pl.images import Photograph, read_photograph, write_photograph
from abair_pl.images.sixteen_bit import encode_png

COLOUR_SUFFIXES = ["png", "tif"]


def png_of(samples: NDArray[np.uint16], colours: int, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, by the format's definition."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"tRNS", extra)] if extra else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff(path: Path, samples: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, samples, photometric="rgb", metadata=None, **options)
    return path


@pytest.fixture
def deep() -> Photograph:
    return Photograph(torch.from_numpy(DEEP.astype(np.float32) / 65535.0).permute(2, 0, 1), bits=16)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (16, 16)},
    ],
)
def test_a_tiff_is_read_in_full_precision(tmp_path: Path, options: dict[str, Any]) -> None:
    photograph = read_photograph(tiff(tmp_path / "a.tif", DEEP, iccprofile=ICC, **options))
    assert np.array_equal(levels(photograph, 65535), DEEP)
    assert (photograph.bits, photograph.grey, photograph.alpha) == (16, False, None)
    assert photograph.icc_profile == ICC


def test_a_tiff_compressed_by_lzw_is_read_in_full_precision(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.tif"), DEEP[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    with Image.open(tmp_path / "a.tif") as image:
        assert image.info["compression"] == "tiff_lzw"
    assert np.array_equal(levels(read_photograph(tmp_path / "a.tif"), 65535), DEEP)


def test_a_png_is_read_in_full_precision(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of(DEEP, 2))
    for file in (tmp_path / "a.png", io.BytesIO((tmp_path / "a.png").read_bytes())):
        photograph = read_photograph(file)
        assert np.array_equal(levels(photograph, 65535), DEEP)
        assert (photograph.bits, photograph.alpha) == (16, None)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(DEEP, None, exif_block(orientation).tobytes()))
    tiff(tmp_path / "a.tif", DEEP, extratags=[(274, "H", 1, orientation, True)])
    for name in ("a.png", "a.tif"):
        photograph = read_photograph(tmp_path / name)
        assert np.array_equal(levels(photograph, 65535), turned(DEEP, orientation)), name
        write_photograph(photograph, tmp_path / f"out-{name}")
        again = read_photograph(tmp_path / f"out-{name}")
        assert np.array_equal(levels(again, 65535), turned(DEEP, orientation)), name


@pytest.mark.parametrize("suffix", COLOUR_SUFFIXES)
def test_colours_and_alpha_come_back_whole(tmp_path: Path, suffix: str) -> None:
    samples = np.dstack([DEEP, DEEP_ALPHA])
    (tmp_path / "in.png").write_bytes(png_of(samples, 6))
    write_photograph(read_photograph(tmp_path / "in.png"), tmp_path / f"out.{suffix}")
    photograph = read_photograph(tmp_path / f"out.{suffix}")
    assert np.array_equal(levels(photograph, 65535), DEEP)
    assert photograph.alpha is not None
    assert np.array_equal((photograph.alpha.double() * 65535).round().numpy(), DEEP_ALPHA)


@pytest.mark.parametrize("suffix", COLOUR_SUFFIXES)
def test_grey_with_alpha_is_written_as_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in.png").write_bytes(png_of(np.dstack([DEEP[..., 0], DEEP_ALPHA]), 4))
    photograph = read_photograph(tmp_path / "in.png")
    assert (photograph.grey, photograph.bits) == (True, 16)
    write_photograph(photograph, tmp_path / f"out.{suffix}")
    back = read_photograph(tmp_path / f"out.{suffix}")
    assert np.array_equal(levels(back, 65535), np.dstack([DEEP[..., 0]] * 3))
    assert back.alpha is not None
    assert np.array_equal((back.alpha.double() * 65535).round().numpy(), DEEP_ALPHA)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_grey_tiff_may_have_white_at_nought(tmp_path: Path, kind: type) -> None:
    top = np.iinfo(kind).max
    grey: NDArray[Any] = np.linspace(0, top, 600).reshape(20, 30).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite", metadata=None)
    assert np.array_equal(levels(read_photograph(tmp_path / "a.tif"), top)[..., 0], top - grey.astype(int))


def test_one_colour_may_be_transparent(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of(DEEP, 2, DEEP[3, 4].astype(">u2").tobytes()))
    alpha = read_photograph(tmp_path / "a.png").alpha
    assert alpha is not None
    assert (alpha == 0).nonzero().tolist() == [[3, 4]]


def test_colours_that_alpha_has_been_multiplied_into_are_divided_by_it(tmp_path: Path) -> None:
    alpha = np.full((20, 30, 1), 0.5)
    samples = np.dstack([DEEP * alpha, alpha * 65535]).round().astype(np.uint16)
    photograph = read_photograph(tiff(tmp_path / "a.tif", samples, extrasamples=["assocalpha"]))
    assert np.abs(levels(photograph, 65535) - DEEP).max() <= 2


def test_a_fourth_channel_that_is_no_alpha_is_left_out(tmp_path: Path) -> None:
    samples = np.dstack([DEEP, DEEP_ALPHA])
    photograph = read_photograph(tiff(tmp_path / "a.tif", samples, extrasamples=["unspecified"]))
    assert photograph.alpha is None
    assert np.array_equal(levels(photograph, 65535), DEEP)


def test_channels_one_after_the_other_are_refused_for_they_would_be_misread(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", DEEP.transpose(2, 0, 1), planarconfig="separate")
    with pytest.raises(ImageError, match=r"a\.tif: a TIFF of 16 bits with one channel after the other; expected"):
        read_photograph(path)


def test_what_opencv_does_not_read_is_read_as_8_bits_which_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: None)
    photograph = read_photograph(tiff(tmp_path / "a.tif", DEEP))
    assert photograph.bits == 8
    assert len(photograph.notes) == 1
    assert np.abs(levels(photograph) - DEEP / 257.0).max() <= 1


@pytest.mark.parametrize("suffix", COLOUR_SUFFIXES)
def test_the_profile_and_what_exif_tells_of_the_photograph_are_kept(
    deep: Photograph, tmp_path: Path, suffix: str
) -> None:
    exif = exif_block()
    told: dict[int, object] = {MAKER: "Maker", Exif.DateTime: "2024:05:06 07:08:09", Exif.Software: "a camera"}
    told |= {Exif.XPTitle: "title".encode("utf-16-le"), Exif.Rating: 4, Exif.ResolutionUnit: 2}
    told |= {Exif.XResolution: 300.0, Exif.YResolution: 200.0}
    exif.update(told)
    exif.get_ifd(IFD.Exif)[Exif.ISOSpeedRatings] = 800
    path = tmp_path / f"out.{suffix}"
    write_photograph(Photograph(deep.pixels, None, ICC, exif.tobytes(), bits=16), path)
    with Image.open(path) as image:
        assert image.info["icc_profile"] == ICC
        found = image.getexif()
        assert found.items() >= told.items()
        assert (IFD.Exif in found) == (suffix == "png"), "tifffile writes no inner directories, as docs/restore.md says"
        assert suffix == "tif" or found.get_ifd(IFD.Exif)[Exif.ISOSpeedRatings] == 800


def test_a_damaged_profile_does_not_cost_the_result(deep: Photograph, tmp_path: Path) -> None:
    damaged = bytes(16) + b"RGB " + bytes(108)
    write_photograph(Photograph(deep.pixels, None, damaged, exif_block().tobytes(), bits=16), tmp_path / "out.png")
    back = read_photograph(tmp_path / "out.png")
    assert np.array_equal(levels(back, 65535), DEEP)
    assert back.icc_profile is None
    assert back.exif is not None


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_formats_without_16_bits_get_8(deep: Photograph, tmp_path: Path, suffix: str) -> None:
    write_photograph(deep, tmp_path / f"out.{suffix}")
    assert read_photograph(tmp_path / f"out.{suffix}").bits == 8


@pytest.mark.parametrize("suffix", COLOUR_SUFFIXES)
def test_8_bits_stay_8_bits(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.dstack([ALPHA] * 3)).save(tmp_path / "in.png")
    write_photograph(read_photograph(tmp_path / "in.png"), tmp_path / f"out.{suffix}")
    assert read_photograph(tmp_path / f"out.{suffix}").bits == 8
