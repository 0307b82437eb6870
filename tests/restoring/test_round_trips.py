"""What a file has beside its colours, and files of odd kinds, from end to end through the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import Base as Exif
from torch import Tensor

from abair_pl.cli import main
from abair_pl.images import read_photograph
from abair_pl.restore import Abair

Restore = Callable[..., Path]
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[20:200:40j, 50:250:56j], 90), axis=2).astype(np.uint8)


@pytest.fixture
def restore(bundle_path: Path, tmp_path: Path) -> Restore:
    """``restore(path, option, ...)``: the file that the command has made of another by the adapter for haze."""

    def run(path: Path, *options: str, suffix: str = "png") -> Path:
        fixed = ["--output", str(tmp_path / "out"), "--bundle", str(bundle_path), "--device", "cpu", "--blend", "haze"]
        assert main(["restore", str(path), *fixed, "--format", suffix, *options]) == 0
        return tmp_path / "out" / f"{path.stem}.{suffix}"

    return run


@pytest.fixture(scope="module")
def model(bundle_path: Path) -> Abair:
    return Abair.from_pretrained(bundle_path, device="cpu")


def restored_by(model: Abair, pixels: NDArray[Any], top: int) -> NDArray[np.float64]:
    """What the network makes of ``(H, W, 3)``, as numbers up to ``top``."""
    tensor = torch.from_numpy(pixels.astype(np.float32) / top).permute(2, 0, 1)
    made: NDArray[np.float64] = model.restore(tensor, "haze").restored.permute(1, 2, 0).double().numpy() * top
    return made


def luma(pixels: Tensor) -> Tensor:
    """``(H, W)``; of colours, WebP keeps half the resolution."""
    return pixels.mul(torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=0)


@pytest.mark.parametrize("suffix", ["tiff", "png"])
def test_16_bits_go_through_the_network_and_come_out_as_16(
    model: Abair, restore: Restore, tmp_path: Path, suffix: str
) -> None:
    pixels = np.stack(np.broadcast_arrays(*np.ogrid[0:9999:40j, 20000:21000:56j], 30), axis=2).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", pixels, photometric="rgb", iccprofile=ICC)
    path = restore(tmp_path / "deep.tif", suffix=suffix)
    found = (read_photograph(path).pixels.double() * 65535).permute(1, 2, 0).numpy()
    assert np.abs(found - restored_by(model, pixels, 65535)).max() < 4
    assert len(np.unique(found.round()[..., 1] % 257)) > 200, "shades that 8 bits do not have"
    assert read_photograph(path).icc_profile == ICC


@pytest.mark.parametrize("strength", ["0", "1"])
def test_grey_of_16_bits(restore: Restore, tmp_path: Path, strength: str) -> None:
    grey = np.linspace(0, 65535, 40 * 56).reshape(40, 56).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    with Image.open(restore(tmp_path / "grey.png", "--strength", strength)) as image:
        assert image.mode == "I;16"
        assert np.array_equal(np.asarray(image), grey) is (strength == "0")


def test_grey(model: Abair, restore: Restore, tmp_path: Path) -> None:
    grey = np.ascontiguousarray(SMOOTH[..., 0])
    Image.fromarray(grey).save(tmp_path / "grey.png")
    with Image.open(restore(tmp_path / "grey.png")) as image:
        assert image.mode == "L"
        expected = restored_by(model, np.dstack([grey] * 3), 255).mean(axis=2)
        assert np.abs(np.asarray(image) - expected).max() < 1


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_alpha_is_carried_along_unchanged(restore: Restore, tmp_path: Path, suffix: str) -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (40, 56), dtype=np.uint8)
    Image.fromarray(np.dstack([SMOOTH, alpha])).save(tmp_path / "glass.png")
    with Image.open(restore(tmp_path / "glass.png", suffix=suffix)) as image:
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image.getchannel("A")), alpha)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_a_turned_jpeg_comes_out_upright_with_exif_and_profile(
    model: Abair, restore: Restore, tmp_path: Path, suffix: str
) -> None:
    exif = Image.Exif()
    exif[Exif.Orientation], exif[Exif.Make] = 6, "Maker"
    Image.fromarray(SMOOTH).save(tmp_path / "turned.jpg", quality=98, exif=exif, icc_profile=ICC)
    path = restore(tmp_path / "turned.jpg", suffix=suffix)
    upright = read_photograph(tmp_path / "turned.jpg")
    with Image.open(path) as image:
        assert image.size == (40, 56)
        assert image.getexif().get(Exif.Orientation, 1) == 1
        assert image.getexif()[Exif.Make] == "Maker"
        assert image.info["icc_profile"] == ICC
    expected = model.restore(upright.pixels, "haze").restored
    assert (luma(read_photograph(path).pixels) - luma(expected)).abs().mean() < 0.02


def test_webp(model: Abair, restore: Restore, tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "web.webp", lossless=True)
    with Image.open(restore(tmp_path / "web.webp", suffix="webp")) as image:
        assert (image.format, image.mode, image.size) == ("WEBP", "RGB", (56, 40))
    expected = model.restore(SMOOTH, "haze").restored
    assert (luma(read_photograph(tmp_path / "out" / "web.webp").pixels) - luma(expected)).abs().mean() < 0.02


def test_a_jpeg_of_inks_becomes_rgb_and_is_told(
    restore: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(SMOOTH).convert("CMYK").save(tmp_path / "inks.jpg")
    with Image.open(restore(tmp_path / "inks.jpg")) as image:
        assert (image.mode, image.size) == ("RGB", (56, 40))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"abair-pl: note: {tmp_path / 'inks.jpg'}: CMYK was converted to RGB, without its colour profile"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("moving.gif", "a GIF, which may be an animation"),
        ("moving.webp", "an animation of 2 frames"),
        ("moving.png", "an animation of 2 frames"),
    ],
)
def test_animations_are_refused_plainly(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    frames = [Image.fromarray(SMOOTH), Image.fromarray(255 - SMOOTH)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    options = ["--output", str(tmp_path / "out"), "--bundle", str(bundle_path), "--device", "cpu"]
    assert main(["restore", str(tmp_path / name), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"abair-pl: error: {tmp_path / name}: {words}; expected ")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("size", [(1, 1), (20_000, 20)])
def test_the_smallest_and_the_longest(restore: Restore, tmp_path: Path, size: tuple[int, int]) -> None:
    x, y = np.arange(size[0]), np.arange(size[1])
    pixels = np.stack(np.broadcast_arrays((x // 100)[None], (y * 9)[:, None], 90), axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "odd.png")
    for options in ([], ["--tile-px", "4096", "--overlap-px", "32"]):
        with Image.open(restore(tmp_path / "odd.png", *options, "--explain")) as image:
            assert image.size == size
            assert len(np.unique(np.asarray(image))) > (20 if size[0] > 1 else 0)
