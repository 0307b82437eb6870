"""A bundle that is ready to restore, and its desk."""

from pathlib import Path

import pytest

from abair_pl.app.desk import Desk
from abair_pl.app.handlers import Limits
from abair_pl.restore import Abair


@pytest.fixture(scope="session")
def model(bundle_path: Path) -> Abair:
    """The complete bundle of toy size; not to be changed."""
    return Abair.from_pretrained(bundle_path, device="cpu")


@pytest.fixture
def desk(model: Abair, tmp_path: Path) -> Desk:
    """A desk that has nothing on it."""
    folder = tmp_path / "desk"
    folder.mkdir()
    return Desk(model, Limits(), folder)


@pytest.fixture(scope="session")
def photograph(photographs: Path) -> Path:
    """A file of 56 x 40 pixels."""
    return photographs / "photo-0.png"
