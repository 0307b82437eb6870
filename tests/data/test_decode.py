import io
import json
import pickle
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image
from PIL.ExifTags import Base as Exif

from abair_pl.data.decode import decode_image, decode_sample, is_depth_map, open_image
from abair_pl.errors import ImageError, ShardError

Picture = Callable[..., NDArray[np.uint8]]
Encoded = Callable[..., bytes]
LOSSLESS = [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {})]


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_give_their_pixels(
    picture: Picture, encoded: Encoded, kind: str, options: dict[str, object]
) -> None:
    decoded = decode_image(encoded(picture(0), kind, **options), "a photograph")
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, picture(0))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_give_nearly_their_pixels(encoded: Encoded, kind: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 48).astype(np.uint8)[None, :, None], (40, 1, 3))
    decoded = decode_image(encoded(ramp, kind, quality=95), "a photograph")
    assert decoded.shape == ramp.shape
    assert np.abs(decoded.astype(int) - ramp).max() < 12


@pytest.mark.parametrize(("kind", "options"), [case for case in LOSSLESS if case[0] != "BMP"])
@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_exif_orientation_is_applied(
    picture: Picture, encoded: Encoded, kind: str, options: dict[str, object], orientation: int, turns: int
) -> None:
    exif = Image.Exif()
    exif[Exif.Orientation] = orientation
    decoded = decode_image(encoded(picture(0), kind, exif=exif, **options), "a photograph")
    assert np.array_equal(decoded, np.rot90(picture(0), turns))


def test_grey_becomes_rgb(picture: Picture, encoded: Encoded) -> None:
    grey = picture(0)[..., 0]
    assert np.array_equal(decode_image(encoded(grey), "a scan"), np.repeat(grey[..., None], 3, axis=2))


def test_16_bit_grey_keeps_its_shades(encoded: Encoded) -> None:
    grey = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    decoded = decode_image(encoded(grey), "a scan")
    assert np.abs(decoded[..., 0] - grey / 257.0).max() <= 1.0


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.9])
def test_files_cut_short_are_refused_by_name(picture: Picture, encoded: Encoded, kind: str, kept: float) -> None:
    data = encoded(picture(0), kind)
    with pytest.raises(ImageError, match=r"broken\.img: not a readable image"):
        decode_image(data[: int(kept * len(data))], "broken.img")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", pickle.dumps([1, 2])])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="expected one of jpg"):
        decode_image(data, "other")


@pytest.mark.parametrize("kind", ["EPS", "PPM", "GIF", "TGA"])
def test_formats_off_the_list_are_refused_without_a_program_under_the_name_of_another(
    picture: Picture, encoded: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in ("run", "Popen", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, lambda *arguments, **options: pytest.fail(f"{arguments} was run"))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")  # as where Ghostscript is installed
    path = tmp_path / "photograph.jpg"
    path.write_bytes(encoded(picture(0), kind))
    with pytest.raises(ImageError, match=r"photograph\.jpg: not a readable image \(no known image format\)"):
        decode_image(path.read_bytes(), str(path))
    with pytest.raises(ImageError, match="no known image format"), open_image(path, str(path)):
        pass


def test_an_image_of_several_views_is_a_jpeg(picture: Picture) -> None:
    buffer = io.BytesIO()
    views = [Image.fromarray(picture(index)) for index in range(2)]
    views[0].save(buffer, "MPO", save_all=True, append_images=views[1:])
    assert decode_image(buffer.getvalue(), "a photograph").shape == picture(0).shape


@pytest.mark.parametrize(
    ("name", "depth"),
    [("x.depth.png", True), ("a/x.depth.PNG", True), ("x.depth.jpg", False), ("depth.png", False), ("x.png", False)],
)
def test_depth_maps_are_told_by_their_name(name: str, depth: bool) -> None:
    assert is_depth_map(name) == depth


@pytest.mark.parametrize("size", [(30_000, 30_000), (200_001, 1000)])
def test_a_header_that_promises_too_many_pixels_is_refused(
    png_header: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    with pytest.raises(ImageError, match="huge"):
        decode_image(png_header(*size), "huge")


def test_members_are_decoded_by_role_and_suffix(picture: Picture, encoded: Encoded) -> None:
    sample = {
        "__key__": "k",
        "__url__": "s.tar",
        "input.png": encoded(picture(1)),
        "target.PNG": encoded(picture(2)),
        "json": json.dumps({"iso": 800}).encode(),
    }
    decoded = decode_sample(sample)
    assert decoded.keys() == {"key", "input", "target", "json"}
    assert decoded["key"] == "k"
    assert np.array_equal(decoded["input"], picture(1))
    assert np.array_equal(decoded["target"], picture(2))
    assert decoded["json"] == {"iso": 800}


def test_a_single_photograph_is_the_image(picture: Picture, encoded: Encoded) -> None:
    decoded = decode_sample({"__key__": "k", "png": encoded(picture(1))})
    assert np.array_equal(decoded["image"], picture(1))


@pytest.mark.parametrize("member", ["pickle", "pkl", "pyd", "png.pickle", "npy", "pth", "txt", "mask.png", ""])
def test_members_off_the_allow_list_are_refused_and_never_unpickled(
    picture: Picture, encoded: Encoded, tmp_path: Path, member: str
) -> None:
    mark = tmp_path / "executed"
    sample = {"__key__": "k", "__url__": "s.tar", "png": encoded(picture(0)), member: pickle.dumps(Bomb(mark))}
    with pytest.raises(ShardError, match=rf"k\.{member} in s\.tar: only images, JSON and whole"):
        decode_sample(sample)
    assert not mark.exists()


@pytest.mark.parametrize("members", [{}, {"json": b"{}"}, {"input.png": None}, {"target.png": None}])
def test_a_sample_without_image_or_half_a_pair_is_refused(
    picture: Picture, encoded: Encoded, members: dict[str, bytes | None]
) -> None:
    sample = {name: data or encoded(picture(0)) for name, data in members.items()}
    with pytest.raises(ShardError, match=r"sample k has members .*; expected one image, or an input and a target"):
        decode_sample({"__key__": "k", **sample})


def test_damaged_json_is_refused_by_name(picture: Picture, encoded: Encoded) -> None:
    with pytest.raises(ShardError, match=r"k\.json"):
        decode_sample({"__key__": "k", "png": encoded(picture(0)), "json": b"{"})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[" * 33 + b"]" * 33, "nested more than 32 deep"),
        (b"[" * 100_000 + b"]" * 100_000, "damaged"),
        (b'"' + b"x" * (1 << 20) + b'"', "more than 1048576"),
    ],
)
def test_json_beyond_reason_is_refused(picture: Picture, encoded: Encoded, data: bytes, said: str) -> None:
    with pytest.raises(ShardError, match=said):
        decode_sample({"__key__": "k", "png": encoded(picture(0)), "json": data})


@pytest.mark.parametrize("member", ["cls", "id", "index"])
def test_whole_numbers_are_read(picture: Picture, encoded: Encoded, member: str) -> None:
    assert decode_sample({"__key__": "k", "png": encoded(picture(0)), member: b"-12\n"})[member] == -12


@pytest.mark.parametrize("data", [b"", b"1.5", b"0x10", b"1" * 19, b"cat", b"1 2", "\u0661".encode(), pickle.dumps(3)])
def test_other_numbers_are_refused_by_name(picture: Picture, encoded: Encoded, data: bytes) -> None:
    with pytest.raises(ShardError, match=r"k\.cls in a shard: .* is no whole number"):
        decode_sample({"__key__": "k", "png": encoded(picture(0)), "cls": data})


@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_depth_is_read_in_shares_of_its_largest_number(
    picture: Picture, encoded: Encoded, kind: type[np.generic], top: int
) -> None:
    shades = np.linspace(0, top, 40 * 48).reshape(40, 48).astype(kind)
    depth = decode_sample({"__key__": "k", "png": encoded(picture(0)), "depth.png": encoded(shades)})["depth"]
    assert depth.dtype == np.float32
    assert (depth.min(), depth.max()) == (0.0, 1.0)
    assert np.abs(depth - shades / top).max() < 1e-6


def test_depth_in_colour_is_refused(picture: Picture, encoded: Encoded) -> None:
    with pytest.raises(ImageError, match=r"k\.depth\.png: an image of mode RGB; expected depth as grey"):
        decode_sample({"__key__": "k", "png": encoded(picture(0)), "depth.png": encoded(picture(1))})


@pytest.mark.parametrize("members", [("input.png", "target.png"), ("png", "depth.png")])
def test_images_of_unequal_sizes_are_refused(picture: Picture, encoded: Encoded, members: tuple[str, str]) -> None:
    images = (picture(0), picture(0, 40, 32)[..., 0])
    sample = {member: encoded(image) for member, image in zip(members, images, strict=True)}
    with pytest.raises(ImageError, match=r"k has images of unequal sizes \(.* 48 x 40, .* 32 x 40\)"):
        decode_sample({"__key__": "k", **sample})


@pytest.mark.parametrize("size", [(8000, 8000), (65_000, 60)])
def test_a_header_that_promises_more_than_the_bytes_can_hold_is_refused(
    png_header: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    with pytest.raises(ImageError, match=r"lie: \d+ x \d+ pixels in \d+ bytes; expected at most 1200 pixels a byte"):
        decode_image(png_header(*size), "lie")


def test_an_image_of_one_shade_is_no_lie(encoded: Encoded) -> None:
    grey = np.full((1500, 1500), 200, dtype=np.uint8)
    assert decode_image(encoded(grey, optimize=True), "flat").shape == (1500, 1500, 3)


def test_what_pil_has_no_name_for_is_an_image_error(picture: Picture, encoded: Encoded) -> None:
    """At an empty colour profile behind the pixels, PIL says nothing but IndexError."""
    data = encoded(picture(0))
    chunk = struct.pack(">I4sI", 0, b"iCCP", zlib.crc32(b"iCCP"))
    with pytest.raises(ImageError, match=r"odd: not a readable image \(index out of range\); expected one of"):
        decode_image(data[:-12] + chunk + data[-12:], "odd")


def test_a_damaged_image_warns_of_nothing(encoded: Encoded, picture: Picture, recwarn: pytest.WarningsRecorder) -> None:
    data = encoded(picture(0), "TIFF")
    with pytest.raises(ImageError):
        decode_image(data[: len(data) // 3], "cut")
    assert recwarn.list == []


def test_what_is_no_number_becomes_black(encoded: Encoded, recwarn: pytest.WarningsRecorder) -> None:
    shades = np.full((16, 16), 0.5, dtype=np.float32)
    shades[0, :3] = [np.nan, np.inf, -np.inf]
    decoded = decode_image(encoded(shades, "TIFF"), "odd")
    assert decoded[0, :4, 0].tolist() == [0, 255, 0, 128]
    assert recwarn.list == []
