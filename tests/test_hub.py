"""Bundles on the Hub, without the Hub: what it holds is a folder here."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from abair_pl import hub
from abair_pl.bundle import Bundle
from abair_pl.errors import AbairError, BundleError, InputError
from abair_pl.restore import Abair

COMMIT = "0123456789abcdef0123456789abcdef01234567"
KEY = "hf_of-somebody"


@pytest.fixture
def model(bundle: Bundle) -> Abair:
    return Abair(bundle, "cpu")


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    """The client's error of a kind, as after an answer of this status."""
    error = kind.__new__(kind)
    Exception.__init__(error, f"{status} Client Error")
    return error


@pytest.fixture
def snapshot(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The bundle as it is in the Hub's cache, all links; and, once asked for, how it was."""
    repository = tmp_path / "cache" / "models--somebody--photos"
    asked: dict[str, Any] = {"folder": repository / "snapshots" / COMMIT}
    for index, (name, data) in enumerate(files_of(bundle_path).items()):
        blob, link = repository / "blobs" / str(index), asked["folder"] / name
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.symlink_to(os.path.relpath(blob, link.parent))

    def download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(asked["folder"])

    monkeypatch.setattr(hub, "snapshot_download", download)
    return asked


def test_a_saved_bundle_is_the_bundle(model: Abair, bundle_path: Path, tmp_path: Path) -> None:
    assert model.save_pretrained(tmp_path / "saved") is None
    expected = {name: data for name, data in files_of(bundle_path).items() if not name.startswith(".")}
    assert files_of(tmp_path / "saved") == expected
    image = torch.rand(3, 24, 32)
    again = Abair.from_pretrained(str(tmp_path / "saved"), "cpu")
    assert torch.equal(again.restore(image).restored, model.restore(image).restored)


def test_a_bundle_that_was_there_is_kept(model: Abair, backbone_path: Path, tmp_path: Path) -> None:
    shutil.copytree(backbone_path, tmp_path / "saved")
    model.save_pretrained(tmp_path / "saved")
    assert Bundle.open(tmp_path / "saved").config.adapters
    assert not Bundle.open(tmp_path / "saved.previous").config.adapters
    assert {path.name for path in tmp_path.iterdir()} == {"saved", "saved.previous"}


def test_nothing_else_is_overwritten_nor_the_bundle_itself(model: Abair, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    before = files_of(model.bundle.path)
    for folder in (tmp_path, model.bundle.path):
        with pytest.raises(InputError):
            model.save_pretrained(folder)
    assert files_of(tmp_path) == {"thesis.txt": b"years of work"}
    assert files_of(model.bundle.path) == before


def test_a_lost_model_card_is_written_anew(bundle_copy: Path, tmp_path: Path) -> None:
    card = (bundle_copy / "README.md").read_text()
    (bundle_copy / "README.md").unlink()
    Abair.from_pretrained(bundle_copy, "cpu").save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text().strip() == card.strip()


def test_an_upload_is_the_bundle_with_its_card(
    model: Abair, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}

    def create_repo(api: HfApi, repo_id: str, **options: Any) -> Any:
        made.update(repo_id=repo_id, token=api.token, **options)
        return type("Address", (), {"repo_id": repo_id})

    def upload_folder(api: HfApi, *, folder_path: Path, **options: Any) -> str:
        made.update(options)
        shutil.copytree(folder_path, tmp_path / "uploaded")
        return "https://huggingface.co/somebody/photos/commit/1"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    address = model.push_to_hub("somebody/photos", private=True, token=KEY, commit_message="Five adapters")
    assert address == "https://huggingface.co/somebody/photos/commit/1"
    assert (made["repo_id"], made["private"], made["token"]) == ("somebody/photos", True, KEY)
    assert made["commit_message"] == "Five adapters"
    uploaded = files_of(tmp_path / "uploaded")
    assert uploaded == {name: data for name, data in files_of(bundle_path).items() if not name.startswith(".")}
    assert b"library_name: abair-pl" in uploaded["README.md"]


def test_uploads_that_fail_end_in_one_line(model: Abair, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_repo(api: HfApi, repo_id: str, **options: Any) -> Any:
        raise refused(HfHubHTTPError, 403)

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    with pytest.raises(
        AbairError, match=r"somebody/photos cannot be uploaded \(403 Client Error\).*hf auth login"
    ) as told:
        model.push_to_hub("somebody/photos", token=KEY)
    assert KEY not in str(told.value)
    with pytest.raises(InputError, match=r"'no such/name!' cannot be a repository .*expected OWNER/NAME"):
        model.push_to_hub("no such/name!")


def test_a_download_is_made_of_plain_files(snapshot: dict[str, Any], model: Abair, tmp_path: Path) -> None:
    there = Abair.from_pretrained(
        "somebody/photos", "cpu", revision="v1", cache_dir=tmp_path / "cache", token=KEY, local_files_only=True
    )
    assert (snapshot["repo_id"], snapshot["revision"], snapshot["token"]) == ("somebody/photos", "v1", KEY)
    assert (snapshot["cache_dir"], snapshot["local_files_only"]) == (tmp_path / "cache", True)
    assert there.bundle.path == snapshot["folder"].parents[1] / "abair-pl" / COMMIT
    assert not any(path.is_symlink() for path in there.bundle.path.rglob("*"))
    image = torch.rand(3, 24, 32)
    assert torch.equal(there.restore(image).restored, model.restore(image).restored)


def test_a_download_is_copied_once_and_what_is_missing_of_it_later(snapshot: dict[str, Any]) -> None:
    weights = snapshot["folder"] / "backbone.safetensors"
    target = weights.readlink()
    weights.unlink()
    with pytest.raises(BundleError, match=r"backbone.safetensors is missing"):
        Abair.from_pretrained("somebody/photos", "cpu")
    weights.symlink_to(target)
    path = Abair.from_pretrained("somebody/photos", "cpu").bundle.path
    written = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    Abair.from_pretrained("somebody/photos", "cpu")
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == written


def test_nothing_but_a_bundles_files_is_taken(snapshot: dict[str, Any]) -> None:
    (snapshot["folder"] / "setup.py").write_text("raise SystemExit")
    path = Abair.from_pretrained("somebody/photos", "cpu").bundle.path
    assert "setup.py" not in files_of(path)
    assert snapshot["allow_patterns"] == hub.PATTERNS


def test_a_repository_without_a_bundle_is_refused(snapshot: dict[str, Any]) -> None:
    (snapshot["folder"] / "config.json").unlink()
    with pytest.raises(BundleError, match=r"somebody/photos on the Hub is no bundle \(no config.json\)"):
        Abair.from_pretrained("somebody/photos")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RepositoryNotFoundError, "no bundle at somebody/photos, and no such repository.*hf auth login"),
        (
            GatedRepoError,
            "somebody/photos is open to some only; ask for access at https://huggingface.co/somebody/photos",
        ),
        (RevisionNotFoundError, "somebody/photos has no revision v9; expected a branch"),
        (HfHubHTTPError, r"somebody/photos cannot be downloaded \(500 Client Error\); try again"),
    ],
)
def test_downloads_that_fail_end_in_one_line(
    kind: type[HfHubHTTPError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repo_id: str, **options: Any) -> str:
        raise refused(kind, 500)

    monkeypatch.setattr(hub, "snapshot_download", download)
    with pytest.raises(BundleError, match=words):
        Abair.from_pretrained("somebody/photos", revision="v9")


@pytest.mark.parametrize("local_files_only", [False, True])
def test_without_a_network_only_the_cache_is_left(local_files_only: bool, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at somebody/photos, nor all of it in the cache"):
        Abair.from_pretrained("somebody/photos", cache_dir=tmp_path, local_files_only=local_files_only)


def test_a_cache_that_cannot_be_written_is_named(snapshot: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(BundleError, match=r"Read-only file system.*choose another cache_dir"):
        Abair.from_pretrained("somebody/photos", "cpu")


def test_folders_come_first_and_paths_are_never_looked_up(
    snapshot: dict[str, Any], backbone_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(backbone_path, tmp_path / "somebody" / "photos")
    assert Abair.from_pretrained("somebody/photos", "cpu").names == []
    for path in (Path("nobody/photos"), "/nobody/photos", "../photos", "photos", "a/b/c"):
        with pytest.raises(BundleError, match=f"no bundle at {path} "):
            Abair.from_pretrained(path)
    assert "repo_id" not in snapshot
