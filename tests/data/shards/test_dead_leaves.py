import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from abair_pl.data.shards.dead_leaves import draw_dead_leaves, encode_dead_leaves

SIZE = (96, 80)


@pytest.fixture(scope="module")
def leaves() -> NDArray[np.uint8]:
    """``(12, 96, 80, 3)``, seeds 0 to 11."""
    return np.stack([draw_dead_leaves(seed, SIZE) for seed in range(12)])


def _steps(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Differences of horizontal neighbours in grey, as one row."""
    return np.diff(images.mean(axis=-1), axis=-1).ravel()


def test_the_seed_alone_decides_the_pixels(leaves: NDArray[np.uint8]) -> None:
    assert np.array_equal(draw_dead_leaves(3, SIZE), leaves[3])
    assert len({image.tobytes() for image in leaves}) == len(leaves)


def test_images_are_8_bit_rgb_of_their_size_with_colour_and_contrast(leaves: NDArray[np.uint8]) -> None:
    assert leaves.shape == (12, 96, 80, 3)
    assert leaves.dtype == np.uint8
    assert leaves.std(axis=(1, 2, 3)).min() > 8
    assert np.ptp(leaves.astype(int), axis=-1).mean() > 5


def test_shades_are_flat_in_most_places_and_jump_at_few_as_in_photographs(leaves: NDArray[np.uint8]) -> None:
    steps = _steps(leaves)
    kurtosis = (steps**4).mean() / (steps**2).mean() ** 2
    assert kurtosis > 8  # 3 for Gaussian noise
    assert np.median(np.abs(steps)) < 0.25 * steps.std()


def test_statistics_do_not_depend_on_scale(leaves: NDArray[np.uint8]) -> None:
    coarse = leaves.reshape(12, 48, 2, 40, 2, 3).mean(axis=(2, 4))
    assert np.diff(coarse.mean(axis=-1), axis=-1).std() == pytest.approx(_steps(leaves).std(), rel=0.5)


def test_smaller_shapes_give_more_edges() -> None:
    fine, rough = (
        np.mean([np.abs(_steps(draw_dead_leaves(seed, SIZE, radii))).mean() for seed in range(6)])
        for radii in ((2.0, 6.0), (24.0, 60.0))
    )
    assert fine > 1.5 * rough


def test_radii_follow_their_power_law(monkeypatch: pytest.MonkeyPatch) -> None:
    radii: list[float] = []

    def outline(generator: np.random.Generator, center: NDArray[np.float64], radius: float) -> NDArray[np.int32]:
        radii.append(radius / 2)  # drawn at twice the size
        return np.zeros((3, 2), dtype=np.int32)

    monkeypatch.setattr("abair_pl.data.shards.dead_leaves._outline", outline)
    draw_dead_leaves(0, (256, 256), (1.0, 64.0))
    assert len(radii) > 2000
    assert min(radii) >= 1.0
    assert max(radii) <= 64.0
    for radius in (1.5, 2.0, 4.0):  # the share above r falls with r ** -2
        assert np.mean(np.array(radii) > radius) == pytest.approx(radius**-2, abs=0.03)


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_files_are_named_by_their_seed(kind: str) -> None:
    name, data = encode_dead_leaves(kind, 7)
    assert name == f"leaves-000007.{kind}"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), draw_dead_leaves(7))
