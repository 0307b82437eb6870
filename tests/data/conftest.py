"""Small photographs, and shards built from them, that the tests of the data share."""

import functools
import http.server
import io
import struct
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from abair_pl.data.shards.build import build_shards

PHOTOGRAPHS = 12
PER_SHARD = 3


@pytest.fixture(scope="session")
def picture() -> Callable[..., NDArray[np.uint8]]:
    """``picture(seed, height, width)``: random pixels, no two alike."""

    def draw(seed: int, height: int = 40, width: int = 48) -> NDArray[np.uint8]:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return draw


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """``encoded(array, format, **options)``: an image file's bytes."""

    def encode(pixels: NDArray[np.generic], kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def write_tar() -> Callable[[Path, Mapping[str, bytes]], str]:
    """``write_tar(path, members)``: a shard by hand, for what the builder would refuse."""

    def write(path: Path, members: Mapping[str, bytes]) -> str:
        with tarfile.open(path, "w") as archive:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        return str(path)

    return write


@pytest.fixture(scope="session")
def png_header() -> Callable[[int, int], bytes]:
    """``png_header(width, height)``: a PNG that promises a size, with hardly any pixels behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def write(width: int, height: int) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")

    return write


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """``serve(folder)``: the address at which the folder's files can be had, on the loopback."""
    servers: list[http.server.ThreadingHTTPServer] = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    def start(folder: Path) -> str:
        handler = functools.partial(Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., NDArray[np.uint8]]) -> Path:
    """A folder of 12 photographs of 40 x 48 pixels; ``p03.png`` is ``picture(3)``."""
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(PHOTOGRAPHS):
        Image.fromarray(picture(index)).save(folder / f"p{index:02d}.png")
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., NDArray[np.uint8]]) -> Path:
    """A folder of 6 pairs whose inputs are the negatives of their targets."""
    folder = tmp_path_factory.mktemp("pairs")
    for role in ("input", "target"):
        (folder / role).mkdir()
    for index in range(6):
        Image.fromarray(picture(index)).save(folder / "target" / f"p{index}.png")
        Image.fromarray(255 - picture(index)).save(folder / "input" / f"p{index}.png")
    return folder


@pytest.fixture(scope="session")
def clean_shards(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Four shards of three photographs each; not to be written to."""
    output = tmp_path_factory.mktemp("built") / "clean"
    build_shards(pictures, output, samples_per_shard=PER_SHARD, workers=1)
    return output


@pytest.fixture(scope="session")
def pair_shards(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Path:
    """Two shards of three pairs each; not to be written to."""
    output = tmp_path_factory.mktemp("built") / "paired"
    build_shards(pairs, output, layout="paired", samples_per_shard=PER_SHARD, workers=1)
    return output


@pytest.fixture(scope="session")
def sleet_shards(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Path:
    """The same pairs in shards that say what they show; not to be written to."""
    output = tmp_path_factory.mktemp("built") / "sleet"
    build_shards(pairs, output, layout="paired", samples_per_shard=PER_SHARD, workers=1, degradation="sleet")
    return output
