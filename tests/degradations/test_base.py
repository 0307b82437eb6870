import numpy as np
import pytest
import torch
from kornia.augmentation import AugmentationSequential
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations import BUILT_IN, Degradation
from abair_pl.degradations.base import choose, within
from abair_pl.errors import InputError

NAMES = list(BUILT_IN)


@pytest.fixture(params=NAMES)
def operator(request: pytest.FixtureRequest) -> Degradation:
    """Each built-in operator with its default ranges."""
    return BUILT_IN[request.param]()


def test_output_is_float32_within_zero_and_one(operator: Degradation, photo: Tensor) -> None:
    extremes = torch.cat([photo, torch.zeros_like(photo), torch.ones_like(photo)])
    degraded = operator(extremes)
    assert degraded.shape == extremes.shape
    assert degraded.dtype == torch.float32
    assert degraded.isfinite().all()
    assert float(degraded.min()) >= 0.0
    assert float(degraded.max()) <= 1.0
    assert not torch.equal(degraded, extremes)


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (33, 7)])
def test_odd_sizes_work(operator: Degradation, size: tuple[int, int]) -> None:
    degraded = operator(torch.full((2, 3, *size), 0.5))
    assert degraded.shape == (2, 3, *size)
    assert degraded.isfinite().all()


def test_a_single_image_needs_no_batch(operator: Degradation, photo: Tensor) -> None:
    assert operator(photo[0]).shape == (1, *photo.shape[1:])


def test_parameters_replay_bit_for_bit(operator: Degradation, photo: Tensor, seeds: NDArray[np.int64]) -> None:
    first = operator(photo, params=operator.draw(seeds))
    operator(photo)
    assert torch.equal(first, operator(photo, params=operator.draw(seeds)))
    assert not torch.equal(first, operator(photo, params=operator.draw(seeds[::-1])))


def test_a_sample_does_not_depend_on_the_rest_of_the_batch(
    operator: Degradation, photo: Tensor, seeds: NDArray[np.int64]
) -> None:
    together = operator(photo, params=operator.draw(seeds))
    for index in range(len(seeds)):
        alone = slice(index, index + 1)
        assert torch.equal(together[alone], operator(photo[alone], params=operator.draw(seeds[alone])))


def test_draws_follow_the_global_seed(operator: Degradation, photo: Tensor) -> None:
    torch.manual_seed(3)
    first, second = operator(photo), operator(photo)
    torch.manual_seed(3)
    assert torch.equal(first, operator(photo))
    assert not torch.equal(first, second)


def test_parameters_have_one_value_a_sample(operator: Degradation, seeds: NDArray[np.int64]) -> None:
    parameters = operator.draw(seeds)
    assert torch.equal(parameters["seed"], torch.from_numpy(seeds))
    assert all(value.shape == seeds.shape for value in parameters.values())
    assert {name for name, value in parameters.items() if value.dtype != torch.float32} == {"seed"}
    assert all(len(value.unique()) > 1 for value in operator.draw(np.arange(64)).values())


def test_severity_spans_its_range() -> None:
    severity = BUILT_IN["noise"](severity=(0.25, 0.75)).draw(np.arange(2000))["severity"]
    assert 0.25 <= float(severity.min()) < 0.26
    assert 0.74 < float(severity.max()) <= 0.75


@pytest.mark.parametrize("name", NAMES)
def test_higher_severity_damages_more(name: str, photo: Tensor) -> None:
    seeds = np.arange(32)
    clean = photo.repeat(8, 1, 1, 1)
    errors = []
    for severity in (0.0, 0.5, 1.0):
        operator = BUILT_IN[name](severity=(severity, severity))
        errors.append(float((operator(clean, params=operator.draw(seeds)) - clean).abs().mean()))
    assert errors == sorted(errors)
    assert errors[2] > 1.2 * errors[0] > 0.0


def test_autocast_is_left_out(operator: Degradation, photo: Tensor, seeds: NDArray[np.int64]) -> None:
    parameters = operator.draw(seeds)
    expected = operator(photo, params=dict(parameters))
    with torch.autocast("cpu", torch.bfloat16):
        degraded = operator(photo, params=dict(parameters))
    assert degraded.dtype == torch.float32
    assert torch.equal(degraded, expected)


def test_neither_image_nor_parameters_are_changed(
    operator: Degradation, photo: Tensor, seeds: NDArray[np.int64]
) -> None:
    image, parameters = photo.clone(), operator.draw(seeds)
    operator(image, params=parameters)
    assert torch.equal(image, photo)
    fresh = operator.draw(seeds)
    assert all(torch.equal(parameters[name], fresh[name]) for name in fresh)


@pytest.mark.parametrize("severity", [(-0.1, 0.5), (0.5, 1.1), (0.8, 0.2), (float("nan"), 1.0)])
def test_bad_severity_is_refused(operator: Degradation, severity: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=rf"severity of {operator.name}"):
        type(operator)(severity=severity)


def test_operators_compose_as_kornia_augmentations(photo: Tensor) -> None:
    sequence = AugmentationSequential(*(BUILT_IN[name]() for name in NAMES), data_keys=["input"])
    degraded = sequence(photo)
    assert degraded.shape == photo.shape
    assert torch.equal(degraded, sequence(photo, params=sequence._params))


def test_within_reaches_both_ends() -> None:
    position = np.array([0.0, 0.5, 1.0], dtype=np.float32)
    assert within((-1.0, 3.0), position).tolist() == [-1.0, 1.0, 3.0]


def test_choose_picks_all_options_equally() -> None:
    draws = np.linspace(0.0, 1.0, 300, endpoint=False, dtype=np.float32)
    values, counts = np.unique(choose(draws, (1.0, 2.0, 5.0)), return_counts=True)
    assert values.tolist() == [1.0, 2.0, 5.0]
    assert counts.tolist() == [100, 100, 100]
