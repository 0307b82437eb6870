from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.images.samples import Save


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """``save(image or array, name, **options)``: the path of an image file."""

    def write(image: Image.Image | NDArray[Any], name: str = "photo.png", **options: Any) -> Path:
        path = tmp_path / name
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
        return path

    return write
