from pathlib import Path

import pytest

from abair_pl.evaluation.suite import Method, Suite, Task


@pytest.fixture
def suite() -> Suite:
    """Two tasks made of clean photographs, one of them of no data set, and three methods of one bundle."""
    noise = Task("Denoising", "Kodak24", "folder", "Kodak24", degrade="noise:sigma=25", oracle="noise")
    rain = Task(
        "Deraining", "Rain100L", "paired", "Rain100L", stand_in="rain:severity=0.3", oracle="rain", protocol="y"
    )
    methods = {"none": Method("phase I", "none"), "soft": Method("SW"), "oracle": Method("Oracle", "oracle")}
    return Suite("two tasks", {"denoising": noise, "deraining": rain}, methods, main="soft")


@pytest.fixture
def two_photographs(photographs: Path, tmp_path: Path) -> Path:
    """A folder of two photographs that the test may change."""
    folder = tmp_path / "two"
    folder.mkdir()
    for index in (1, 6):
        (folder / f"photo-{index}.png").write_bytes((photographs / f"photo-{index}.png").read_bytes())
    return folder
