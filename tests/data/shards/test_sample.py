from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from abair_pl.data.decode import decode_sample
from abair_pl.data.manifest import Manifest, count_samples
from abair_pl.data.shards import sample as module
from abair_pl.data.shards.sample import (
    HELD_OUT_PHOTOGRAPHS,
    TRAIN_PHOTOGRAPHS,
    build_sample,
    load_depth,
    load_photograph,
)
from abair_pl.data.streaming.archive import read_samples
from abair_pl.data.streaming.sources import expand_shards
from abair_pl.errors import InputError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample of one training photograph, one held out and two dead leaves."""
    output = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TRAIN_PHOTOGRAPHS", ("rocket",))
        patch.setattr(module, "HELD_OUT_PHOTOGRAPHS", ("chelsea",))
        build_sample(output, dead_leaves=2, seed=40)
    return output


@pytest.mark.parametrize("name", [*TRAIN_PHOTOGRAPHS, *HELD_OUT_PHOTOGRAPHS])
def test_photographs_come_with_scikit_image(name: str) -> None:
    photograph = load_photograph(name)
    assert photograph.dtype == np.uint8
    assert photograph.shape[2] == 3
    assert min(photograph.shape[:2]) >= 288


def test_the_two_of_a_stereo_pair_differ() -> None:
    assert not np.array_equal(load_photograph("motorcycle_left"), load_photograph("motorcycle_right"))


def test_training_and_held_out_photographs_are_disjoint() -> None:
    assert not set(TRAIN_PHOTOGRAPHS) & set(HELD_OUT_PHOTOGRAPHS)


def test_train_and_val_are_whole_builds_of_their_photographs(built: Path) -> None:
    keys = {}
    for part in ("train", "val"):
        shards = expand_shards(str(built / part))
        keys[part] = [sample["__key__"] for sample in read_samples(shards)]
        assert Manifest.read(built / part).complete
        assert count_samples(shards) == len(keys[part])
    assert {key.partition("-")[0] for key in keys["train"]} == {"rocket", "leaves"}
    assert {key.partition("-")[0] for key in keys["val"]} == {"chelsea"}
    assert [key for key in keys["train"] if key.startswith("leaves")] == ["leaves-000040", "leaves-000041"]


def test_held_out_photographs_are_files_of_their_own(built: Path) -> None:
    (path,) = (built / "heldout").iterdir()
    assert np.array_equal(np.asarray(Image.open(path)), load_photograph("chelsea"))


def test_tiles_cover_the_photograph_and_overlap(built: Path) -> None:
    photograph = load_photograph("chelsea")
    covered = np.zeros(photograph.shape[:2], dtype=int)
    for sample in read_samples(expand_shards(str(built / "val"))):
        tile = decode_sample(sample)["image"]
        top, left = (int(number) for number in sample["__key__"].split("-")[1:])
        height, width = tile.shape[:2]
        assert np.array_equal(tile, photograph[top : top + height, left : left + width])
        covered[top : top + height, left : left + width] += 1
    assert covered.min() == 1
    assert (covered > 1).mean() > 0.3


def test_photographs_can_be_left_out_and_the_licence_says_what_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRAIN_PHOTOGRAPHS", ("motorcycle_left", "rocket"))
    monkeypatch.setattr(module, "HELD_OUT_PHOTOGRAPHS", ("chelsea",))
    for name, without in (("all", ()), ("licensed", ("motorcycle_left",))):
        build_sample(tmp_path / name, dead_leaves=0, without=without)
        train = tmp_path / name / "train"
        photographs = {str(sample["__key__"]).split("-")[0] for sample in read_samples(expand_shards(str(train)))}
        assert photographs == {"motorcycle_left", "rocket"} - set(without)
        licence = Manifest.read(train).licence
        assert ("stereo pair, which scikit-image ships without naming a licence" in licence) == (not without)
        assert "rocket, public domain by its documentation, which is in doubt" in licence
        assert "moon" not in licence


def test_leaving_out_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown training photograph 'chelsea'"):
        build_sample(tmp_path / "sample", without=["chelsea"])
    assert not (tmp_path / "sample").exists()


def test_measured_depth_is_far_where_disparity_is_small() -> None:
    depth = load_depth().astype(float)
    disparity = skimage.data.stereo_motorcycle()[2]
    known = np.isfinite(disparity)
    assert depth.shape == load_photograph("motorcycle_left").shape[:2]
    assert (depth.min(), depth.max()) == (0.0, 65535.0)
    by_disparity = np.argsort(disparity[known])
    assert (np.diff(depth[known][by_disparity]) <= 0).all()
    inverse = 1.0 / (disparity[known] + 31.086)
    assert np.allclose(depth[known] / 65535, (inverse - inverse.min()) / np.ptp(inverse), atol=1e-4)


def test_holes_in_the_depth_are_filled_from_beside_them() -> None:
    depth = load_depth().astype(float)
    known = np.isfinite(skimage.data.stereo_motorcycle()[2])
    rows, columns = np.nonzero(~known[:, 1:] & known[:, :-1])  # unknown pixels with a known one to their left
    edge = depth[rows, columns + 1]
    assert len(edge) > 100
    near = [known[max(r - 1, 0) : r + 2, c : c + 3] for r, c in zip(rows, columns, strict=True)]
    values = [depth[max(r - 1, 0) : r + 2, c : c + 3] for r, c in zip(rows, columns, strict=True)]
    assert all(value in around[there] for value, around, there in zip(edge, values, near, strict=True))


def test_tiles_of_the_stereo_pair_carry_their_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRAIN_PHOTOGRAPHS", ("motorcycle_left", "rocket"))
    monkeypatch.setattr(module, "HELD_OUT_PHOTOGRAPHS", ("chelsea",))
    build_sample(tmp_path, dead_leaves=1)
    depth = load_depth()
    tiles = 0
    for sample in read_samples(expand_shards(str(tmp_path / "train"))):
        decoded = decode_sample(sample)
        assert ("depth" in decoded) == sample["__key__"].startswith("motorcycle_left")
        if "depth" in decoded:
            tiles += 1
            top, left = (int(number) for number in sample["__key__"].split("-")[1:])
            height, width = decoded["image"].shape[:2]
            assert np.allclose(decoded["depth"] * 65535, depth[top : top + height, left : left + width], atol=0.5)
    assert tiles == 12
