import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from abair_pl.data.shards.listing import list_samples
from abair_pl.errors import ShardError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with ``a.png`` and ``sub/b.JPG``."""
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    Image.new("RGB", (8, 8)).save(folder / "sub" / "b.JPG", "JPEG")
    return folder


def _keys(folder: Path, layout: str = "folder") -> list[str]:
    return [sample.key for sample in list_samples(folder, layout).samples]


def test_links_to_files_and_folders_are_followed(source: Path, tmp_path: Path) -> None:
    linking = tmp_path / "linking"
    linking.mkdir()
    (linking / "x.png").symlink_to(source / "a.png")
    (linking / "folder").symlink_to(source / "sub")
    assert _keys(linking) == ["folder__b", "x"]
    (tmp_path / "link").symlink_to(linking)
    listing = list_samples(tmp_path / "link", "folder")
    assert [sample.key for sample in listing.samples] == ["folder__b", "x"]
    assert listing.samples[1].members[0].size_bytes == (source / "a.png").stat().st_size


def test_a_link_to_nothing_is_named(source: Path) -> None:
    (source / "lost.png").symlink_to(source / "not-fetched.png")
    with pytest.raises(ShardError, match=r"lost\.png is a link to no file"):
        _keys(source)


def test_a_loop_of_links_ends(source: Path) -> None:
    (source / "sub" / "loop").symlink_to(source)
    with pytest.raises(ShardError, match="as another link does; expected one link to a folder"):
        _keys(source)


@pytest.mark.parametrize("name", ["loop", "loop.png"])
def test_a_link_to_itself_is_named(source: Path, name: str) -> None:
    (source / name).symlink_to(name)
    with pytest.raises(ShardError, match=rf"{name}: cannot be read \(.*symbolic links\); mend it, or remove it"):
        _keys(source)


def test_a_folder_that_may_not_be_read_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", refuse)  # which root may read
    with pytest.raises(ShardError, match=r"sub: cannot be read \(Permission denied\)"):
        _keys(source)


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_of_the_name_of_an_image_is_not_waited_for(source: Path, linked: bool) -> None:
    os.mkfifo(source / ("pipe" if linked else "pipe.jpg"))
    if linked:
        (source / "pipe.jpg").symlink_to(source / "pipe")
    with pytest.raises(ShardError, match=r"pipe\.jpg is (no regular file|a link to no file); expected an image"):
        _keys(source)


def test_names_that_readers_refuse_are_refused(source: Path) -> None:
    (source / "a\nb.png").touch()
    with pytest.raises(ShardError, match="control characters"):
        _keys(source)


def test_two_targets_of_one_input_are_named(tmp_path: Path) -> None:
    for file in ("input/1.png", "target/1.png", "target/1.jpg"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(ShardError, match=r"1\.(jpg|png) and .*1\.(png|jpg) would both be the target"):
        list_samples(tmp_path, "paired")


def test_no_file_is_asked_for_its_size_twice(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = os.stat

    def count(path: object, **options: bool) -> os.stat_result:
        asked.append(str(path))
        return original(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", count)
    monkeypatch.setattr(Path, "stat", lambda self, **options: count(self, **options))
    assert len(_keys(source)) == 2
    assert not [path for path in asked if path.endswith(("png", "JPG"))]  # os.scandir() told, without a path


def test_order_is_that_of_the_keys_and_case_of_folders_does_not_matter(tmp_path: Path) -> None:
    for file in ("Low/2.png", "HIGH/2.PNG", "Low/10.png", "HIGH/10.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    samples = list_samples(tmp_path, "lolv1", "test", allow_partial=True).samples
    assert [sample.key for sample in samples] == ["10", "2"]
    assert [member.suffix for member in samples[1].members] == ["png", "png"]
