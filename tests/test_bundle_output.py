"""Where new bundles may be written: nothing of the user's is moved or removed for one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from abair_pl.bundle import Bundle, save_backbone
from abair_pl.bundle_output import check_output
from abair_pl.cli import main
from abair_pl.errors import InputError
from abair_pl.models.backbone import Backbone


def files(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file() and f.name != ".lock"}


def merge(bundle: Path, output: Path | str) -> int:
    return main(["adapters", "merge", str(bundle), "--weights", "rain=1", "--output", str(output)])


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Callable[[], int]) -> str:
    """The one line of a command that fails and changes no file."""
    before = files(tmp_path)
    assert run() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert files(tmp_path) == before
    return line


@pytest.mark.parametrize("name", ["photo.png", "config.json"])
def test_a_folder_of_something_else_is_refused(
    name: str, bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / name).write_text('{"model_type": "another"}')
    line = refused(tmp_path, capsys, lambda: merge(bundle_copy, folder))
    assert f"{folder} is there and no bundle; expected a bundle or nothing" in line
    assert not (tmp_path / "pictures.previous").exists()


def test_a_file_is_refused(bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes").write_text("mine")
    assert "notes is there and no bundle" in refused(tmp_path, capsys, lambda: merge(bundle_copy, tmp_path / "notes"))
    below = tmp_path / "notes" / "bundle"
    assert "notes, which is a file" in refused(tmp_path, capsys, lambda: merge(bundle_copy, below))


def test_what_is_called_previous_and_is_no_bundle_stays(make_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    path, previous = tmp_path / "bundle", tmp_path / "bundle.previous"
    save_backbone(path, make_backbone(2), "nano", ["rain"], {})
    previous.mkdir()
    (previous / "mine").write_text("mine")
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"bundle\.previous is there and no bundle"):
        save_backbone(path, make_backbone(2, seed=1), "nano", ["rain"], {})
    assert files(tmp_path) == before


def test_an_empty_folder_is_taken_and_a_bundle_kept(
    make_backbone: Callable[..., Backbone], bundle_copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    assert merge(bundle_copy, tmp_path / "out") == 0
    assert not (tmp_path / "out.previous").exists()
    assert merge(bundle_copy, tmp_path / "out") == 0
    assert Bundle.open(tmp_path / "out.previous").config.adapters == {}


@pytest.mark.parametrize("place", ["copy", "copy/bundle", "copy/bundle/adapters/rain", "copy/bundle/new", "link"])
def test_a_source_is_not_overlapped(
    place: str, bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(bundle_copy)
    line = refused(tmp_path, capsys, lambda: merge(bundle_copy, tmp_path / place))
    assert "is in, is, or holds" in line or "the bundle itself" in line


def test_a_source_that_would_be_removed_as_the_previous_one(
    bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    previous = bundle_copy.rename(bundle_copy.with_name("out.previous"))
    out = bundle_copy.with_name("out")
    assert merge(previous, out) == 0
    capsys.readouterr()
    assert "removes its NAME.previous" in refused(tmp_path, capsys, lambda: merge(previous, out))


def test_an_imported_file_is_not_overlapped(
    bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = bundle_copy / "checkpoint.pth"
    torch.save({}, checkpoint)
    command = ["bundle", "import", str(checkpoint), "--from", "restormer", "--output", str(bundle_copy)]
    assert "is in, is, or holds" in refused(tmp_path, capsys, lambda: main(command))


@pytest.mark.parametrize("output", [".", "..", "", "../here"])
def test_the_current_folder_and_those_above_are_refused(
    output: str, bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    line = refused(tmp_path, capsys, lambda: merge(bundle_copy, output or "."))
    assert "the current folder or above it; expected a new name" in line


def test_a_relative_path_is_resolved(bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert check_output(Path("..") / "there") == tmp_path / "there"
    assert merge(bundle_copy, os.path.join("..", "there", "..", "made")) == 0  # noqa: PTH118
    assert Bundle.open(tmp_path / "made").config.adapters == {}
