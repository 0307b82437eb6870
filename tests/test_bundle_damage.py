"""A complete bundle of which one file is damaged or missing: one line names it, or it does not matter."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fuzz.corpus import make_bundle

from abair_pl.cli import main
from abair_pl.errors import BundleError
from abair_pl.restore import Abair

Damage = Callable[[Path], None]
STEP = 17


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x80
    file.write_bytes(data)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def link_out(file: Path) -> None:
    """The file's own bytes, but elsewhere."""
    elsewhere = Path(shutil.copyfile(file, Path(os.environ["ELSEWHERE"], file.name)))
    file.unlink()
    file.symlink_to(elsewhere)


def link_nowhere(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def make_pipe(file: Path) -> None:
    """To open it would wait for ever."""
    file.unlink()
    os.mkfifo(file)


DAMAGES: list[Damage] = [cut, flip, empty, Path.unlink, make_folder, link_out, link_nowhere, make_pipe]
FILES = [
    *("config.json", "README.md", "backbone.safetensors", "estimator.safetensors"),
    *(
        f"adapters/{adapter}/{name}"
        for adapter in ("rain", "haze", "noise")
        for name in ("adapter_config.json", "adapter_model.safetensors")
    ),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle with an adapter of each method; not to be changed."""
    return make_bundle(tmp_path_factory.mktemp("whole") / "bundle").path


def test_these_are_all_files(whole: Path) -> None:
    found = {str(file.relative_to(whole)) for file in whole.rglob("*") if file.is_file()}
    assert found == {*FILES, ".lock"}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_one_file(
    name: str,
    damage: Damage,
    whole: Path,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ELSEWHERE", str(tmp_path))
    path = Path(shutil.copytree(whole, tmp_path / "bundle"))
    damage(path / name)
    source, output = photographs / "photo-0.png", tmp_path / "out"
    restore = ["restore", str(source), "--bundle", str(path), "--output", str(output), "--device", "cpu"]
    if name.endswith("README.md"):
        assert main(restore) == 0
        return
    assert main(restore) == 2
    (line,) = capsys.readouterr().err.splitlines()
    missing = name == "config.json" and damage is Path.unlink
    assert (f"no bundle at {path} (no config.json)" if missing else str(path / name)) in line
    assert any(remedy in line for remedy in ("copy the whole bundle", "copy or train it again", "copy it", "make one"))
    assert not output.exists() or not any(output.iterdir())
    with pytest.raises(BundleError):
        Abair.from_pretrained(path, "cpu").estimator()


def test_every_byte_of_the_configuration_gives_one_line_or_does_no_harm(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "bundle"))
    data = (path / "config.json").read_bytes()
    refused = 0
    for index in range(0, len(data), STEP):
        (path / "config.json").write_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
        try:
            Abair.from_pretrained(path, "cpu")
        except BundleError as error:
            refused += 1
            assert "\n" not in str(error)
            assert str(path) in str(error)
    assert refused > len(range(0, len(data), STEP)) // 2
