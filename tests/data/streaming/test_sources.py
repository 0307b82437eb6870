import shutil
from pathlib import Path

import pytest

from abair_pl.data.manifest import Manifest, ShardEntry
from abair_pl.data.streaming.sources import Source, expand_shards, expand_sources, facts_of, is_remote, shown, told
from abair_pl.errors import ShardError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two (empty) shards."""
    for index in range(2):
        (tmp_path / f"a-00000{index}.tar").touch()
    return tmp_path


def test_shards_are_expanded_from_folder_braces_and_list(folder: Path) -> None:
    names = [str(folder / f"a-00000{index}.tar") for index in (0, 1)]
    assert expand_shards(str(folder)) == names
    assert expand_shards(f"{folder}/a-{{000000..000001}}.tar") == names
    assert expand_shards([names[1], names[0]]) == names[::-1]
    assert expand_shards([str(folder), names[0]]) == [*names, names[0]]


def test_urls_are_expanded_and_not_looked_for() -> None:
    urls = [f"https://example.org/gld-00{index}.tar" for index in range(3)]
    assert expand_shards("https://example.org/gld-{000..002}.tar") == urls


def test_shell_commands_are_refused_unless_allowed() -> None:
    with pytest.raises(ShardError, match=r"would run a shell command.*allow it with --data\.allow_pipe true"):
        expand_shards("pipe:cat x.tar")
    assert expand_shards("pipe:cat x-{0..1}.tar", allow_pipe=True) == ["pipe:cat x-0.tar", "pipe:cat x-1.tar"]


@pytest.mark.parametrize("url", ["gs://bucket/a.tar", "file:///etc/passwd", "ftp://host/a.tar"])
def test_urls_of_other_kinds_are_refused(url: str) -> None:
    with pytest.raises(ShardError, match=r"expected a path, http://, https://, s3://, or pipe:"):
        expand_shards(url)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ("{folder}/empty", r"has no \.tar file; make shards with"),
        ("{folder}/a-{{000000..000002}}.tar", r"no shard at .*a-000002\.tar"),
        (["{folder}/missing.tar"], r"no shard at .*missing\.tar"),
        ("{folder}/a-{{000000..", "braces"),
        ([], "no shards given"),
        ("", "no shards given"),
        ([""], "no shards given"),
        (["{folder}/a-000000.tar", ""], "no shards given"),
    ],
)
def test_shards_that_are_not_there_are_refused(folder: Path, sources: str | list[str], said: str) -> None:
    (folder / "empty").mkdir()
    filled = [source.format(folder=folder) for source in ([sources] if isinstance(sources, str) else sources)]
    with pytest.raises(ShardError, match=said):
        expand_shards(filled[0] if isinstance(sources, str) else filled)


def test_weights_are_shares_of_one(folder: Path) -> None:
    gld, leaves = expand_sources({str(folder): 3, f"{folder}/a-{{000000..000000}}.tar": 1.0})
    assert (gld.weight, leaves.weight) == (0.75, 0.25)
    assert (len(gld.shards), len(leaves.shards)) == (2, 1)
    assert gld.name == str(folder)


def test_a_source_alone_has_all_the_weight(folder: Path) -> None:
    for setting in (str(folder), [str(folder / "a-000000.tar"), str(folder / "a-000001.tar")]):
        (source,) = expand_sources(setting)
        assert source.weight == 1.0
        assert source.shards == expand_shards(str(folder))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused_by_name(folder: Path, weight: float) -> None:
    with pytest.raises(ShardError, match=rf"{folder} has the weight .*; expected a positive number"):
        expand_sources({str(folder): weight})


def test_no_sources_to_mix_are_refused() -> None:
    with pytest.raises(ShardError, match="no shards given"):
        expand_sources({})


@pytest.mark.parametrize(
    ("shard", "name"),
    [
        ("https://user:word@host:80/x/a.tar?signature=s", "https://host:80/x/a.tar"),
        ("s3://bucket/a.tar", "s3://bucket/a.tar"),
        ("x@y/a?.tar", "x@y/a?.tar"),
    ],
)
def test_shards_are_shown_without_what_grants_access(shard: str, name: str) -> None:
    assert shown(shard) == name
    assert is_remote(shard) == ("://" in shard)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (
            '["https://me:word@host/a.tar?x=1","https://me:word@host/b.tar"]',
            '["https://host/a.tar","https://host/b.tar"]',
        ),
        ("pipe:curl -H 'Authorization: word' https://host/a.tar", "pipe:"),
        ("shards/train", "shards/train"),
    ],
)
def test_what_is_told_of_sources_grants_no_access(source: str, name: str) -> None:
    assert told(source) == name


def test_names_of_sources_grant_no_access() -> None:
    urls = ["https://me:word@host/a.tar", "https://me:word@host/b.tar?sign=1", "pipe:curl -H word"]
    assert [source.name for source in expand_sources(urls, allow_pipe=True)] == [
        "https://host/a.tar, https://host/b.tar, pipe:"
    ]
    mixed = expand_sources(dict.fromkeys(urls, 1.0), allow_pipe=True)
    assert [source.name for source in mixed] == ["https://host/a.tar", "https://host/b.tar", "pipe:"]
    assert [source.shards[0] for source in mixed] == urls


def test_a_folder_that_lacks_shards_of_its_manifest_is_refused(clean_shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    shutil.copytree(clean_shards, folder)
    first, second, *_ = expand_shards(str(folder))
    Path(second).unlink()
    with pytest.raises(ShardError, match=r"lacks clean-000001.tar of the 4 shards in its manifest"):
        expand_shards(str(folder))
    Path(first).unlink()
    with pytest.raises(ShardError, match=r"lacks clean-000000.tar and 1 more of the 4 shards"):
        expand_shards(str(folder))


def test_manifests_tell_kind_and_licence_by_source(tmp_path: Path) -> None:
    for name, licence in (("photos", "CC0-1.0"), ("more", "CC-BY-4.0"), ("own", "")):
        (tmp_path / name).mkdir()
        entries = [ShardEntry("a.tar", 1, 1, "00")]
        Manifest("paired" if name == "more" else "clean", "00", True, entries, licence=licence).write(tmp_path / name)
    (tmp_path / "without").mkdir()
    photos, more, own, without = (str(tmp_path / name / "a.tar") for name in ("photos", "more", "own", "without"))
    sources = [
        Source("all", [photos, more, photos], 0.5),
        Source("own", [own], 0.125),
        Source("without", [without], 0.125),
        Source("pipe:", ["pipe:cat a"], 0.125),
        Source("pipe:", ["https://host/a.tar"], 0.125),
    ]
    assert facts_of(sources) == {
        "data_sources": {"all": 0.5, "own": 0.125, "without": 0.125, "pipe:": 0.25},
        "data_layouts": {"all": "clean, paired", "own": "clean"},
        "data_licences": {"all": "CC-BY-4.0, CC0-1.0"},
    }
