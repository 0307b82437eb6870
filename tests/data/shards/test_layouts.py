"""Each data set in miniature: a few files where its archives, or common re-distributions, have them."""

import re
from pathlib import Path

import pytest
from PIL import Image

from abair_pl.data.manifest import Manifest
from abair_pl.data.shards.build import build_shards
from abair_pl.data.shards.layouts import LAYOUTS, find_layout, find_split, layout_table
from abair_pl.data.shards.listing import list_samples
from abair_pl.errors import InputError, ShardError

_CDD_KINDS = [
    "low",
    "haze",
    "rain",
    "snow",
    "low_haze",
    "low_rain",
    "low_snow",
    "haze_rain",
    "haze_snow",
    "low_haze_rain",
    "low_haze_snow",
]
_CDD_FILES = [f"{{0}}{kind}/{scene}.png" for kind in ["clear", *_CDD_KINDS] for scene in ("00001", "00002")]
_CDD_KEYS = {f"{kind}__{scene}" for kind in _CDD_KINDS for scene in ("00001", "00002")}


def _rooted(files: list[str], *roots: str) -> list[list[str]]:
    return [[file.format(root) for file in files] for root in roots]


TREES: dict[tuple[str, str], tuple[list[list[str]], set[str]]] = {
    ("gldv2", "train"): (
        _rooted(["{}0/0/0/00000123456789ab.jpg", "{}f/e/d/fed123456789abcd.jpg"], "", "train/"),
        {"00000123456789ab", "fed123456789abcd"},
    ),
    ("div2k", "train"): (_rooted(["{}0001.png", "{}0800.png"], "DIV2K_train_HR/", ""), {"0001", "0800"}),
    ("div2k", "valid"): (_rooted(["{}0801.png", "{}0900.png"], "DIV2K_valid_HR/", ""), {"0801", "0900"}),
    ("flickr2k", "all"): (_rooted(["{}000001.png", "{}002650.png"], "Flickr2K_HR/", ""), {"000001", "002650"}),
    ("bsd400", "all"): (_rooted(["{}2092.jpg", "{}8049.jpg"], "", "BSD400/"), {"2092", "8049"}),
    ("wed", "all"): (
        _rooted(["{}00001.bmp", "{}04744.bmp"], "exploration_database_and_code/pristine_images/", ""),
        {"00001", "04744"},
    ),
    ("bsd68", "all"): (_rooted(["{}test001.png", "{}test068.png"], "", "BSD68/"), {"test001", "test068"}),
    ("cbsd68", "all"): (
        [["original_png/0000.png", "original_png/0067.png", "noisy5/0000.png"], ["101085.png", "101087.png"]],
        {"0000", "0067"},
    ),
    ("kodak24", "all"): (_rooted(["{}kodim01.png", "{}kodim24.png"], "", "Kodak24/"), {"kodim01", "kodim24"}),
    ("urban100", "all"): (
        [
            ["img_001.png", "img_100.png"],
            [
                "image_SRF_4/img_001_SRF_4_HR.png",
                "image_SRF_4/img_100_SRF_4_HR.png",
                "image_SRF_4/img_001_SRF_4_LR.png",
            ],
        ],
        {"img_001", "img_100"},
    ),
    **{
        (name, split): (
            [
                *_rooted(
                    ["{}rainy/rain-001.png", "{}norain-001.png", "{}rainy/rain-002.png", "{}norain-002.png"], root
                ),
                *_rooted(
                    ["{}rain-1.png", "{}norain-1.png", "{}rainstreak-1.png", "{}rain-2.png", "{}norain-2.png"], ""
                ),
                *_rooted(["{}input/1.png", "{}target/1.png", "{}input/2.png", "{}target/2.png"], root, ""),
                *_rooted(["{}rainy/rain-1.png", "{}gt/norain-1.png", "{}rainy/rain-2.png", "{}gt/norain-2.png"], ""),
            ],
            {"rain-001", "rain-002"},
        )
        for name in ("rain100l", "rain100h")
        for split, root in (("test", "test/"), ("train", "train/"))
    },
    ("reside_ots", "beta"): (
        [
            ["part1/0025_0.8_0.04.jpg", "part4/8180_1_0.2.jpg", "clear/0025.jpg", "clear/8180.jpg", "depth/0025.png"],
            ["OTS/0025_0.8_0.04.jpg", "OTS/8180_1_0.2.jpg", "clear_images/0025.jpg", "clear_images/8180.jpg"],
            ["haze/part1/0025_0.8_0.04.jpg", "haze/part1/8180_1_0.2.jpg", "clear/0025.jpg", "clear/8180.jpg"],
            ["hazy/0025_0.8_0.04.jpg", "hazy/8180_1_0.2.jpg", "gt/0025.jpg", "gt/8180.jpg"],
        ],
        {"0025_0_8_0_04", "8180_1_0_2"},
    ),
    ("sots_outdoor", "test"): (
        [
            ["outdoor/hazy/0001_0.8_0.2.jpg", "outdoor/hazy/0001_1_0.12.jpg", "outdoor/gt/0001.png"],
            ["input/0001_0.8_0.2.jpg", "input/0002_0.95_0.12.jpg", "target/0001.png", "target/0002.png"],
        ],
        {"0001_0_8_0_2", "0001_1_0_12"},
    ),
    ("sots_indoor", "test"): (
        [
            ["nyuhaze500/hazy/1400_1.png", "nyuhaze500/hazy/1449_10.png"]
            + [f"nyuhaze500/gt/{scene}.png" for scene in (1400, 1449)],
            *_rooted(
                ["{}hazy/1400_1.png", "{}hazy/1449_10.png", "{}gt/1400.png", "{}gt/1449.png"],
                "",
                "indoor/",
                "SOTS/indoor/nyuhaze500/",
            ),
            ["indoor/hazy/1400_1.png", "indoor/hazy/1449_10.png", "indoor/clear/1400.png", "indoor/clear/1449.png"],
        ],
        {"1400_1", "1449_10"},
    ),
    ("gopro", "train"): (
        [
            [
                f"train/{sequence}/{kind}/000047.png"
                for sequence in ("GOPR0372_07_00", "GOPR0374_11_00")
                for kind in ("blur", "blur_gamma", "sharp")
            ],
            ["input/a-1.png", "input/a-2.png", "target/a-1.png", "target/a-2.png"],
        ],
        {"GOPR0372_07_00__000047", "GOPR0374_11_00__000047"},
    ),
    ("gopro", "test"): (
        [
            [f"test/GOPR0384_11_00/{kind}/{frame}.png" for kind in ("blur", "sharp") for frame in ("000001", "000002")],
            ["input/a-1.png", "input/a-2.png", "target/a-1.png", "target/a-2.png"],
        ],
        {"GOPR0384_11_00__000001", "GOPR0384_11_00__000002"},
    ),
    ("hide", "test"): (
        [
            [
                "test/test-close-ups/1fromA.png",
                "test/test-long-shot/2fromB.png",
                *(f"GT/{n}.png" for n in ("1fromA", "2fromB", "3fromC")),
            ]
        ],
        {"1fromA", "2fromB"},
    ),
    ("hide", "train"): (
        [["train/3fromC.png", "train/4fromD.png", *(f"GT/{n}.png" for n in ("1fromA", "3fromC", "4fromD"))]],
        {"3fromC", "4fromD"},
    ),
    ("lolv1", "train"): (
        _rooted(["{}low/2.png", "{}high/2.png", "{}low/5.png", "{}high/5.png"], "our485/", "LOLdataset/our485/", ""),
        {"2", "5"},
    ),
    ("lolv1", "test"): (
        _rooted(["{}low/1.png", "{}high/1.png", "{}low/22.png", "{}high/22.png"], "eval15/", ""),
        {"1", "22"},
    ),
    ("lolv2_real", "train"): (
        [
            *_rooted(
                [f"{{}}{name}{n}.png" for name in ("Low/low", "Normal/normal") for n in ("00001", "00689")],
                "Real_captured/Train/",
                "",
            ),
            *_rooted(
                [f"{{}}{name}/{n}.png" for name in ("Low", "Normal") for n in ("00001", "00689")],
                "LOL-v2/Real_captured/Train/",
            ),
        ],
        {"low00001", "low00689"},
    ),
    ("lolv2_real", "test"): (
        _rooted(
            [f"{{}}{name}{n}.png" for name in ("Low/low", "Normal/normal") for n in ("00690", "00789")],
            "Real_captured/Test/",
        ),
        {"low00690", "low00789"},
    ),
    ("snow100k", "train"): (
        _rooted(
            [f"{{}}{kind}/beautiful_smile_0000{n}.jpg" for kind in ("synthetic", "gt", "mask") for n in (1, 2)],
            "all/",
            "",
        ),
        {"beautiful_smile_00001", "beautiful_smile_00002"},
    ),
    ("snow100k", "test"): (
        _rooted(
            [f"{{}}Snow100K-{size}/{kind}/snow_0.jpg" for size in "SL" for kind in ("synthetic", "gt", "mask")],
            "test/",
            "media/jdway/GameSSD/overlapping/test/",
        ),
        {"Snow100K-S__snow_0", "Snow100K-L__snow_0"},
    ),
    ("snow100k", "test_l"): (
        _rooted(
            [f"{{}}Snow100K-{size}/{kind}/snow_{size}.jpg" for size in "SML" for kind in ("synthetic", "gt")], "test/"
        ),
        {"snow_L"},
    ),
    ("cdd11", "train"): (_rooted(_CDD_FILES, "CDD-11_train/", "train/", ""), _CDD_KEYS),
    ("cdd11", "test"): (_rooted(_CDD_FILES, "CDD-11_test/", "test/"), _CDD_KEYS),
}
CASES = [(name, split, files) for (name, split), (trees, _) in TREES.items() for files in trees]


def _plant(files: list[str], folder: Path) -> Path:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 8), "teal").save(path)
    return folder


def test_every_data_set_is_tried() -> None:
    assert {name for name, _ in TREES} == LAYOUTS.keys() - {"folder", "paired"}


@pytest.mark.parametrize(("name", "split", "files"), CASES)
def test_structures_are_read(tmp_path: Path, name: str, split: str, files: list[str]) -> None:
    listing = list_samples(_plant(files, tmp_path), name, split, allow_partial=True)
    keys = TREES[name, split][1]
    assert len(listing.samples) == len(keys)
    for sample in listing.samples:
        roles = [member.role for member in sample.members]
        assert roles == ([""] if LAYOUTS[name].kind == "clean" else ["input", "target"])
        assert [member.size_bytes for member in sample.members] == [Path(m.path).stat().st_size for m in sample.members]


@pytest.mark.parametrize(("name", "split"), TREES)
def test_published_structures_become_shards(tmp_path: Path, name: str, split: str) -> None:
    trees, keys = TREES[name, split]
    source = _plant(trees[0], tmp_path / "source")
    part = LAYOUTS[name].splits[split]
    unit = "pairs" if LAYOUTS[name].kind == "paired" else "photographs"
    with pytest.raises(ShardError, match=f"expected {part.expected} {unit}, found {len(keys)}: .*--allow-partial"):
        build_shards(source, tmp_path / "out", name, split=split)
    manifest = build_shards(source, tmp_path / "out", name, workers=1, split=split, allow_partial=True)
    assert Manifest.read(tmp_path / "out") == manifest
    assert (manifest.layout, manifest.dataset, manifest.split) == (LAYOUTS[name].kind, name, split)
    assert (manifest.samples, manifest.found, manifest.expected) == (len(keys), len(keys), part.expected)


@pytest.mark.parametrize(("name", "split"), TREES)
def test_keys_are_as_published(tmp_path: Path, name: str, split: str) -> None:
    trees, keys = TREES[name, split]
    listing = list_samples(_plant(trees[0], tmp_path), name, split, allow_partial=True)
    assert {sample.key for sample in listing.samples} == keys


@pytest.mark.parametrize(
    ("name", "split", "files", "said"),
    [
        (
            "rain100h",
            "test",
            [f"{role}/{n}.png" for role in ("input", "target") for n in range(1, 101) if n not in (7, 50, 99)],
            "expected 100 pairs, found 97: missing input/7, input/50, input/99; complete the folder from "
            "https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html, or choose another --split (train), "
            "or accept it with --allow-partial",
        ),
        (
            "rain100l",
            "test",
            [f"rainy/rain-{n:03d}.png" for n in range(1, 101)] + [f"norain-{n:03d}.png" for n in range(3, 101)],
            "expected 100 pairs, found 98: missing norain-001, norain-002;",
        ),
        (
            "kodak24",
            "all",
            [f"kodim{n:02d}.png" for n in range(8, 25)],
            "expected 24 photographs, found 17: missing kodim01, kodim02, kodim03, kodim04, kodim05 and 2 more;",
        ),
        ("urban100", "all", [f"img_{n:03d}.png" for n in range(1, 100)], "photographs, found 99: missing img_100;"),
        (
            "sots_outdoor",
            "test",
            ["hazy/0001_0.8_0.2.jpg", "hazy/0002_1_0.2.jpg", "gt/0001.png", "gt/0003.png"],
            "expected 500 pairs, found 1: missing gt/0002, hazy/0003_* and 497 more;",
        ),
        (
            "hide",
            "test",
            ["test/test-close-ups/1.png", *(f"GT/{n}.png" for n in range(2100))],
            "expected 2025 pairs, found 1: which are missing cannot be told from the names;",
        ),
        (
            "gopro",
            "test",
            ["A/blur/1.png", "A/sharp/1.png", "A/blur/2.png"],
            "expected 1111 pairs, found 1: missing A/sharp/2 and 1109 more;",
        ),
        (
            "cdd11",
            "test",
            [f"{kind}/1.png" for kind in ("clear", *_CDD_KINDS) if kind != "low_haze"],
            "expected 2200 pairs, found 10: missing low_haze/1 and 2189 more;",
        ),
        (
            "rain100h",
            "test",
            [f"{role}/{n}.png" for role in ("input", "target") for n in range(1, 201)],
            "expected 100 pairs, found 200: more than were published, so that this is another edition",
        ),
        (
            "lolv1",
            "test",
            [f"low/{n}.png" for n in range(15)],
            "expected 15 pairs, found 0: missing high/0, high/1, high/10, high/11, high/12 and 10 more;",
        ),
        ("div2k", "train", ["a/b/c.png"], "has 1 images, none where div2k (train) has them; expected such as 0001:"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, split: str, files: list[str], said: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(ShardError, match=re.escape(said)):
        list_samples(tmp_path, name, split)


def test_a_folder_without_a_pair_is_refused_in_any_case(tmp_path: Path) -> None:
    _plant(["low/1.png"], tmp_path)
    with pytest.raises(ShardError, match=r"found 0: missing high/1 and 14 more; complete the folder") as error:
        list_samples(tmp_path, "lolv1", "test", allow_partial=True)
    assert "--allow-partial" not in str(error.value)


def test_a_whole_set_has_no_note(tmp_path: Path) -> None:
    _plant([f"kodim{n:02d}.png" for n in range(1, 25)], tmp_path)
    listing = list_samples(tmp_path, "kodak24")
    assert (len(listing.samples), listing.expected, listing.note) == (24, 24, "")


def test_splits_and_layouts_are_found_by_name() -> None:
    assert find_layout("clean") == find_layout("folder")
    assert find_split("rain100h", None)[0] == "test"
    assert find_split("gopro", None)[0] == "train"
    with pytest.raises(InputError, match=r"unknown layout 'gopr0'.*did you mean 'gopro'\?"):
        find_layout("gopr0")
    with pytest.raises(InputError, match="unknown split of lolv1 'val'; expected one of: train, test"):
        find_split("lolv1", "val")


def test_the_table_tells_of_splits_and_sources() -> None:
    table = layout_table()
    assert "rain100h     paired  test 100, train 1800" in table
    assert "CC BY 4.0" in table


def test_every_input_tells_its_target() -> None:
    for layout in LAYOUTS.values():
        for split in layout.splits.values():
            for tree in split.variants():
                assert (tree.target is None) == (layout.kind == "clean")
                assert tree.target is None or set(tree.target.names) <= set(tree.input.names)


def test_no_page_counts_the_data_sets() -> None:
    """As the number changes with each of them; the table has them all."""
    root = Path(__file__).parents[3]
    for page in ("README.md", "CHANGELOG.md", "shards/README.md"):
        text = (root / page).read_text().lower()
        assert not re.findall(r"(?:\d+|teen|twenty|thirty|other two|three)\S* (?:other )?data sets", text), page
    for name in re.findall(r"--layout (\w+)", (root / "README.md").read_text()):
        assert name in LAYOUTS


def test_the_recipes_tell_of_every_data_set_and_its_counts() -> None:
    text = (Path(__file__).parents[3] / "shards" / "README.md").read_text()
    for name, layout in LAYOUTS.items():
        assert f"`{name}`" in text
        assert layout.source in text
        for split in layout.splits.values():
            assert split.expected is None or f"{split.expected:,}" in text
