from pathlib import Path

import pytest
from tests.images.samples import PIXELS, Save

from abair_pl.errors import ImageError
from abair_pl.images import find_images


def test_files_and_folders_in_order(save: Save, tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp"):
        save(PIXELS, name)
    (tmp_path / "notes.txt").write_text("not an image")
    other = save(PIXELS, "z.gif")
    assert [path.name for path in find_images([other, tmp_path])] == ["z.gif", "a.JPG", "b.png", "c.webp"]


def test_folders_named_like_images_are_left_out(save: Save, tmp_path: Path) -> None:
    path = save(PIXELS)
    (tmp_path / "folder.png").mkdir()
    assert find_images([tmp_path]) == [path]


def test_nothing_to_find_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="has no images; expected files named"):
        find_images([tmp_path])
    with pytest.raises(ImageError, match=r"no image at .*missing\.png"):
        find_images([tmp_path / "missing.png"])
