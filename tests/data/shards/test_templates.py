import pytest

from abair_pl.data.shards.templates import Template


@pytest.mark.parametrize(
    ("text", "stem", "groups"),
    [
        ("<name>", "a.b", {"name": "a.b"}),
        ("<name>", "a/b", None),
        ("<path:.+>", "a/b", {"path": "a/b"}),
        ("Low/low<n:05d>", "low/LOW7", {"n": "7"}),
        ("Low/low<n:05d>", "low/lowx", None),
        ("rain-<n:d>", "norain-1", None),
        ("<*:part[1-4]>/<scene>_<haze>", "part3/0025_1_0.2", {"scene": "0025", "haze": "1_0.2"}),
        ("<*:part[1-4]>/<scene>_<haze>", "part5/0025_1_0.2", None),
        ("a.b/<name>", "aXb/c", None),
        ("<path:.+>", "line\nbreak", {"path": "line\nbreak"}),
    ],
)
def test_paths_are_matched_whole(text: str, stem: str, groups: dict[str, str] | None) -> None:
    assert Template(text).match(stem) == groups


def test_names_and_choices_are_those_of_the_groups() -> None:
    template = Template("<*>/<kind:rain|snow>/<n:03d>")
    assert template.names == ("kind", "n")
    assert template.choices("kind") == ["rain", "snow"]
    assert template.fill({"kind": "rain", "n": "5"}) == "*/rain/005"
    assert template.fill({}) == "*/*/*"


@pytest.mark.parametrize(
    ("text", "stem", "key"),
    [
        ("input/<path:.+>", "input/a/b.v1", "a__b_v1"),
        ("<*>/<*>/<*>/<id>", "0/1/2/0123", "0123"),
        ("kodim<n:02d>", "kodim07", "kodim07"),
        ("<damage>/<scene>", "low_haze/00001", "low_haze__00001"),
    ],
)
def test_keys_hold_what_tells_samples_apart(text: str, stem: str, key: str) -> None:
    assert Template(text).key(stem) == key
