import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from abair_pl.data.manifest import Manifest, ShardEntry
from abair_pl.data.streaming.beside import damages_of, digest_of, layouts_of, samples_in
from abair_pl.errors import ShardError


@pytest.fixture
def folder(pair_shards: Path, tmp_path: Path) -> Path:
    """A copy of two shards of three pairs each, that the test may change."""
    return Path(shutil.copytree(pair_shards, tmp_path / "paired"))


@pytest.fixture
def url(folder: Path, serve: Callable[[Path], str]) -> str:
    """Where the folder is served."""
    return serve(folder)


def test_samples_are_counted_here_and_at_urls(folder: Path, url: str) -> None:
    names = ["paired-000000.tar", "paired-000001.tar"]
    assert samples_in([str(folder / name) for name in names]) == 6
    assert samples_in([f"{url}/{name}" for name in names]) == 6
    assert samples_in([str(folder / names[0]), f"{url}/{names[1]}"]) == 6


def test_a_shard_that_a_remote_manifest_does_not_list_is_named_by_its_address(url: str) -> None:
    with pytest.raises(ShardError, match=rf"{url}/other\.tar is not in a complete manifest"):
        samples_in([f"{url}/other.tar"])


def test_a_missing_remote_manifest_is_named_by_its_address(folder: Path, url: str) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(ShardError, match=rf"{url}/manifest\.json cannot be downloaded .*404"):
        samples_in([f"{url}/paired-000000.tar"])


def test_commands_have_no_manifest() -> None:
    with pytest.raises(ShardError, match="a command's shard has no manifest"):
        samples_in(["pipe:cat /x/a.tar"])


def test_shards_without_samples_are_refused(tmp_path: Path) -> None:
    Manifest("clean", "", complete=True, shards=[ShardEntry("a.tar", 0, 0, "")]).write(tmp_path)
    with pytest.raises(ShardError, match=r"a\.tar hold no sample"):
        samples_in([str(tmp_path / "a.tar")])


def test_layouts_are_those_of_the_manifests(folder: Path, url: str, clean_shards: Path, sleet_shards: Path) -> None:
    clean = str(clean_shards / "clean-000000.tar")
    assert layouts_of([f"{url}/paired-000000.tar"]) == {"paired"}
    assert layouts_of([str(folder / "paired-000000.tar"), f"{url}/paired-000000.tar"]) == {"paired"}
    assert layouts_of([clean, "pipe:cat /x/a.tar"]) == {"clean"}
    assert layouts_of([clean, str(sleet_shards / "sleet-000000.tar")]) == {"clean", "paired"}
    assert layouts_of(["pipe:cat /x/a.tar"]) == set()
    (folder / "manifest.json").unlink()
    assert layouts_of([f"{url}/paired-000000.tar"]) == set()


def test_a_manifest_that_cannot_be_had_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pairs show would be lost."""
    monkeypatch.setattr("abair_pl.data.streaming.fetch.ATTEMPTS", 1)
    for look in (layouts_of, damages_of):
        with pytest.raises(ShardError, match=r"127\.0\.0\.1:9/manifest\.json cannot be downloaded .*refused"):
            look(["http://127.0.0.1:9/a.tar"])


@pytest.mark.parametrize(("said", "is_none"), [("An error occurred (404): Not Found", True), ("Access Denied", False)])
def test_a_bucket_without_a_manifest_is_told_from_one_that_refuses(
    monkeypatch: pytest.MonkeyPatch, said: str, is_none: bool
) -> None:
    def fail(*_: object) -> bytes:
        raise ShardError(said)

    monkeypatch.setattr("abair_pl.data.streaming.beside.read_url", fail)
    if is_none:
        assert layouts_of(["s3://bucket/a.tar"]) == set()
        return
    with pytest.raises(ShardError, match=said):
        layouts_of(["s3://bucket/a.tar"])


def test_photographs_and_pairs_that_name_no_degradation_are_both_named(url: str, clean_shards: Path) -> None:
    said = rf"{url} holds pairs of no known degradation, {clean_shards} single photographs; expected .* --degradation"
    with pytest.raises(ShardError, match=said):
        layouts_of([str(clean_shards / "clean-000000.tar"), f"{url}/paired-000000.tar"])


def test_what_pairs_show_is_told_by_the_shards_names_in_messages(
    folder: Path, clean_shards: Path, sleet_shards: Path, serve: Callable[[Path], str]
) -> None:
    here, there = str(sleet_shards / "sleet-000000.tar"), f"{serve(sleet_shards)}/sleet-000001.tar"
    others = [str(clean_shards / "clean-000000.tar"), str(folder / "paired-000000.tar"), "pipe:cat /x/a.tar"]
    assert damages_of([here, f"{there}?sign=1", *others]) == {here: "sleet", there: "sleet"}


def test_a_digest_is_of_the_shards_and_not_of_where_they_are(folder: Path, tmp_path: Path) -> None:
    names = ["paired-000000.tar", "paired-000001.tar"]
    here = digest_of([str(folder / name) for name in names])
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert digest_of([str(moved / name) for name in names]) == here
    assert digest_of([str(moved / name) for name in reversed(names)]) != here
    assert digest_of([str(moved / name) for name in ("a.tar", "b.tar")]) != here
    manifest = moved / "manifest.json"
    manifest.write_text(manifest.read_text().replace("paired", "other"))
    assert digest_of([str(moved / name) for name in names]) != here


def test_a_digest_tells_addresses_apart_but_not_what_grants_access_to_them() -> None:
    assert digest_of(["https://a:b@x.org/1.tar?sign=1"]) == digest_of(["https://x.org/1.tar?sign=2"])
    assert digest_of(["https://x.org/1.tar"]) != digest_of(["https://y.org/1.tar"])
    assert digest_of(["https://x.org/1.tar"]) != digest_of(["https://x.org/z/1.tar"])
