"""What `make dist` makes: a wheel that restores by itself, and an sdist with all that the repository has."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from abair_pl import __version__

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "src" / "abair_pl" / "weights"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_the_wheel_has_the_bundle_the_command_and_the_licences(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"abair_pl-{__version__}-py3-none-any.whl"
    bundle = [file for file in BUNDLE.rglob("*") if file.suffix in {".json", ".safetensors"}]
    assert {"config.json", "backbone.safetensors", "estimator.safetensors"} <= {file.name for file in bundle}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for file in bundle:
            assert archive.read(f"abair_pl/weights/{file.relative_to(BUNDLE).as_posix()}") == file.read_bytes()
        information = f"abair_pl-{__version__}.dist-info"
        assert b"abair-pl = abair_pl.cli:main" in archive.read(f"{information}/entry_points.txt")
    assert {f"{information}/licenses/LICENSE", f"{information}/licenses/docs/licences.md"} <= {*names}
    assert not [name for name in names if not name.startswith(("abair_pl/", information))]
    assert not [name for name in names if name.endswith((".lock", ".pyc"))]


def test_what_the_wheel_holds_restores_a_photograph(built: Path, tmp_path: Path) -> None:
    """By itself, away from the repository, with the bundle inside."""
    (wheel,) = built.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    photograph, output = tmp_path / "photograph.png", tmp_path / "restored"
    Image.effect_noise((48, 32), 40).convert("RGB").save(photograph)
    command = [sys.executable, "-m", "abair_pl.cli", "restore", str(photograph), "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "wheel")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    with Image.open(output / photograph.name) as image:
        assert image.size == (48, 32)


def test_the_sdist_has_what_is_in_the_repository(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "constraints.txt", "Makefile", "CITATION.cff", "CHANGELOG.md", "LICENSE"} <= names
    assert {"configs/pretrain.yaml", "notebooks/01_degradations.ipynb", "tests/conftest.py"} <= names
    assert "src/abair_pl/weights/backbone.safetensors" in names
    assert not [name for name in names if name.startswith((".venv", "runs", "site", "dist"))]
