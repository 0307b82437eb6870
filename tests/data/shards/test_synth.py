import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abair_pl.data.manifest import Manifest, file_sha256
from abair_pl.data.shards.dead_leaves import draw_dead_leaves
from abair_pl.data.shards.synth import synthesize_shards
from abair_pl.data.streaming.archive import read_samples
from abair_pl.errors import ShardError


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in folder.rglob("*") if path.is_file()}


def _images(folder: Path) -> dict[str, bytes]:
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    return {sample["__key__"]: sample["png"] for sample in read_samples(shards)}


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images in shards of two, drawn at one go."""
    output = tmp_path_factory.mktemp("synth") / "leaves"
    synthesize_shards(output, images=5, seed=7, samples_per_shard=2, workers=1)
    return output


def test_images_are_those_of_their_seeds(leaves: Path) -> None:
    manifest = Manifest.read(leaves)
    assert (manifest.samples, len(manifest.shards), manifest.dataset, manifest.complete) == (5, 3, "dead_leaves", True)
    images = _images(leaves)
    assert list(images) == [f"leaves-{seed:06d}" for seed in range(7, 12)]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(images["leaves-000009"]))), draw_dead_leaves(9))


def test_drawn_images_are_free(leaves: Path) -> None:
    assert Manifest.read(leaves).licence == "drawn, free of rights"


def test_workers_and_parts_do_not_matter(leaves: Path, tmp_path: Path) -> None:
    for number in (2, 1):
        synthesize_shards(tmp_path / "leaves", 5, seed=7, samples_per_shard=2, workers=2, part=f"{number}/2")
    assert _hashes(tmp_path / "leaves") == _hashes(leaves)


def test_images_are_the_same_in_shards_of_any_size(leaves: Path, tmp_path: Path) -> None:
    synthesize_shards(tmp_path / "leaves", 5, seed=7, samples_per_shard=4, workers=1)
    assert _images(tmp_path / "leaves") == _images(leaves)


def test_what_is_lost_is_drawn_again(leaves: Path, tmp_path: Path) -> None:
    output = tmp_path / "leaves"
    synthesize_shards(output, 5, seed=7, samples_per_shard=2, workers=1)
    (output / "leaves-000001.tar").unlink()
    synthesize_shards(output, 5, seed=7, samples_per_shard=2, workers=1)
    assert _hashes(output) == _hashes(leaves)


@pytest.mark.parametrize("name", ["images", "samples_per_shard", "seed"])
def test_numbers_out_of_bounds_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ShardError, match=f"{name} is -1; expected at least"):
        synthesize_shards(tmp_path / "leaves", **{"images": 1, name: -1})  # type: ignore[arg-type]


def test_another_seed_in_the_same_output_is_refused(leaves: Path) -> None:
    with pytest.raises(ShardError, match="holds shards of other files or settings"):
        synthesize_shards(leaves, images=5, seed=8, samples_per_shard=2)
