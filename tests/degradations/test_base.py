import inspect
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from kornia.augmentation import AugmentationSequential
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations import BUILT_IN, Degradation, Parameters, RandomGaussianNoise, Range
from abair_pl.degradations.base import STAGES, between, limited, one_thread, per_image, within
from abair_pl.degradations.random import smooth_field
from abair_pl.errors import InputError

OPERATORS = [operator for kinds in BUILT_IN.values() for operator in kinds]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.fixture(params=OPERATORS, ids=lambda operator: operator.__name__)
def operator(request: pytest.FixtureRequest) -> Degradation:
    """Each built-in operator of each kind with its default ranges."""
    made: Degradation = request.param()
    return made


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """Let the test choose the number of threads."""
    yield
    torch.set_num_threads(1)


def _valid(degraded: Tensor, shape: torch.Size) -> bool:
    in_range = bool(((degraded >= 0.0) & (degraded <= 1.0)).all())  # False for NaN too
    return degraded.shape == shape and degraded.dtype == torch.float32 and in_range


def test_extremes_stay_within_zero_and_one(operator: Degradation, photo: Tensor) -> None:
    extremes = torch.cat([photo, torch.zeros_like(photo), torch.ones_like(photo)])
    degraded = operator(extremes)
    assert _valid(degraded, extremes.shape)
    assert not torch.equal(degraded, extremes)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (7, 33), (75, 50), (128, 128)], ids=str)
def test_all_sizes_work(operator: Degradation, size: tuple[int, int]) -> None:
    image = smooth_field(torch.arange(6), "photo", size, octaves=5).view(2, 3, *size)
    assert _valid(operator(image), image.shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_floating_type_is_degraded_in_float32(
    operator: Degradation, photo: Tensor, seeds: NDArray[np.int64], dtype: torch.dtype
) -> None:
    image = photo.to(dtype)
    degraded = operator.apply(image, operator.draw(seeds))
    assert _valid(degraded, photo.shape)
    assert torch.equal(degraded, operator.apply(image.float(), operator.draw(seeds)))
    assert operator(image).shape == photo.shape


def test_a_single_image_needs_no_batch(operator: Degradation, photo: Tensor) -> None:
    assert operator(photo[0]).shape == (1, *photo.shape[1:])


def test_parameters_replay_bit_for_bit(operator: Degradation, photo: Tensor, seeds: NDArray[np.int64]) -> None:
    first = operator(photo, params=operator.draw(seeds))
    operator(photo)
    assert torch.equal(first, operator(photo, params=operator.draw(seeds)))
    assert torch.equal(first, operator.apply(photo, operator.draw(seeds)))
    assert not torch.equal(first, operator(photo, params=operator.draw(seeds[::-1])))


def test_kornia_replays_what_it_drew(operator: Degradation, photo: Tensor) -> None:
    first = operator(photo)
    assert torch.equal(first, operator(photo, params=operator._params))


def test_draws_follow_the_global_seed(operator: Degradation, photo: Tensor) -> None:
    torch.manual_seed(3)
    first, second = operator(photo), operator(photo)
    torch.manual_seed(3)
    assert torch.equal(first, operator(photo))
    assert not torch.equal(first, second)


def test_a_sample_depends_on_neither_batch_nor_threads(operator: Degradation, restored_threads: None) -> None:
    """11 x 3 x 75 x 151 pixels and more are divided among the threads, at places that no vector unit likes."""
    images = smooth_field(torch.arange(72), "photo", (75, 151), octaves=5).view(24, 3, 75, 151)
    seeds = np.arange(24) * 7919 + 3
    alone = torch.cat([operator.apply(images[i : i + 1], operator.draw(seeds[i : i + 1])) for i in range(24)])
    for threads, sizes in ((1, (2, 3, 5, 12, 24)), (2, (1, 3, 24)), (3, (2, 5, 12))):
        torch.set_num_threads(threads)
        for size in sizes:
            parts = [slice(start, start + size) for start in range(0, 24, size)]
            together = torch.cat([operator.apply(images[part], operator.draw(seeds[part])) for part in parts])
            assert torch.equal(together, alone), f"{threads} threads, batches of {size}"
        assert torch.get_num_threads() == threads


def test_one_thread_gives_the_others_back_after_an_error(restored_threads: None) -> None:
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="here"), one_thread():
        assert torch.get_num_threads() == 1
        message = "here"
        raise ValueError(message)
    assert torch.get_num_threads() == 2


def test_results_go_to_the_rows_asked_for_and_nowhere_else(operator: Degradation, photo: Tensor) -> None:
    target = torch.full((6, *photo.shape[1:]), -1.0)
    drawn = operator.draw(np.arange(2))
    operator.apply_to_rows(photo, torch.tensor([3, 1]), dict(drawn), target, torch.tensor([0, 4]))
    assert torch.equal(target[[0, 4]], operator.apply(photo[[3, 1]], dict(drawn)))
    assert (target[[1, 2, 3, 5]] == -1.0).all()
    rows = torch.tensor([2, 0])
    in_place = photo.clone()
    operator.apply_to_rows(in_place, rows, dict(drawn), in_place, rows)
    assert torch.equal(in_place[rows], operator.apply(photo[rows], dict(drawn)))
    assert torch.equal(in_place[[1, 3]], photo[[1, 3]])


def test_parameters_have_one_value_a_sample(operator: Degradation, seeds: NDArray[np.int64]) -> None:
    parameters = operator.draw(seeds)
    assert torch.equal(parameters["seed"], torch.from_numpy(seeds))
    assert all(value.shape == seeds.shape for value in parameters.values())
    assert {name for name, value in parameters.items() if value.dtype != torch.float32} == {"seed"}
    assert all(len(value.unique()) > 1 for value in operator.draw(np.arange(64)).values())


def test_severity_spans_its_range() -> None:
    severity = RandomGaussianNoise(severity=(0.25, 0.75)).draw(np.arange(2000))["severity"]
    assert 0.25 <= float(severity.min()) < 0.26
    assert 0.74 < float(severity.max()) <= 0.75


def test_the_dial_chooses_a_part_of_the_range_of_severities(operator: Degradation) -> None:
    narrow = type(operator)(severity=(0.2, 0.6))
    unit = operator.draw(np.arange(300))["severity"]
    turned = narrow.draw(np.arange(300), dial=(0.5, 1.0))["severity"]
    torch.testing.assert_close(turned, 0.2 + 0.4 * (0.5 + 0.5 * unit))
    fixed = narrow.draw(np.arange(9), dial=(0.25, 0.25))
    torch.testing.assert_close(fixed["severity"], torch.full((9,), 0.3))
    exact = type(operator)(severity=(0.3, 0.3)).draw(np.arange(9))
    assert all(torch.allclose(fixed[name], exact[name], rtol=1e-5) for name in exact)


def test_higher_severity_damages_more(operator: Degradation) -> None:
    clean = smooth_field(torch.arange(48), "photo", (64, 72), octaves=6).view(16, 3, 64, 72) * 0.8 + 0.1
    errors = []
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        parameters = operator.draw(np.arange(16), dial=(level, level))
        errors.append(float((operator.apply(clean, parameters) - clean).abs().mean()))
    assert errors == sorted(errors)
    assert len(set(errors)) >= 4  # bits are whole
    assert errors[-1] > 1.3 * errors[0] > 0.0


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
    operator(image, params=dict(parameters))
    operator.apply(image, parameters)
    assert torch.equal(image, photo)
    fresh = operator.draw(seeds)
    assert parameters.keys() == fresh.keys()
    assert all(torch.equal(parameters[name], fresh[name]) for name in fresh)


@pytest.mark.parametrize("severity", [(-0.1, 0.5), (0.5, 1.1), (0.8, 0.2), (float("nan"), 1.0)], ids=str)
def test_bad_severity_is_refused(operator: Degradation, severity: Range) -> None:
    with pytest.raises(InputError, match=rf"^severity of {operator.name} is \(.*\); expected 0 <= low <= high <= 1$"):
        type(operator)(severity=severity)


@pytest.mark.parametrize("bad", [-1000.0, 1e6, float("nan")])
def test_every_other_argument_is_checked(operator: Degradation, bad: float) -> None:
    arguments = inspect.signature(type(operator)).parameters
    for name, argument in arguments.items():
        if name != "severity":
            value = (argument.default[0], bad) if argument.annotation == Range else bad
            changed: dict[str, Any] = {name: value}
            with pytest.raises(InputError, match=rf"^{name} is \(.*\); expected both ends within \[.*\]$"):
                type(operator)(**changed)


def test_operators_compose_as_kornia_augmentations(photo: Tensor) -> None:
    sequence = AugmentationSequential(*(operator() for operator in OPERATORS), data_keys=["input"])
    degraded = sequence(photo)
    assert degraded.shape == photo.shape
    assert torch.equal(degraded, sequence(photo, params=sequence._params))
    assert not torch.equal(degraded, sequence(photo))


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_a_class_says_what_it_is(operator: type[Degradation]) -> None:
    kinds = BUILT_IN[operator.name]
    assert operator in kinds
    assert bool(operator.kind) == (len(kinds) > 1)
    assert operator.stage in STAGES
    assert operator().operators[0].draw(np.arange(3)).keys() >= {"seed", "severity"}


def test_one_step_does_all_samples(operator: Degradation, seeds: NDArray[np.int64]) -> None:
    (step,) = operator.steps(seeds, dial=(0.5, 0.5))
    assert step.operator is operator
    assert step.rows.tolist() == [0, 1, 2, 3]
    expected = operator.draw(seeds, (0.5, 0.5))
    assert all(torch.equal(step.parameters[name], value) for name, value in expected.items())


class Pole(Degradation):
    """Gives back what it was given as its range, as a user's own operator may."""

    name: ClassVar[str] = "pole"

    def physical(self, severity: NDArray[np.float32], draws: object) -> dict[str, NDArray[np.float32]]:
        return {"gain": within((2.0, -1.0), severity)}

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        return image * per_image(parameters["gain"])


def test_results_out_of_range_are_clamped(photo: Tensor) -> None:
    assert torch.equal(
        Pole(severity=(0.0, 0.0)).apply(photo, Pole().draw(np.arange(4), (0.0, 0.0))), (2 * photo).clamp(max=1)
    )
    assert not Pole().apply(photo, Pole().draw(np.arange(4), (1.0, 1.0))).any()


def test_within_and_between_reach_both_ends() -> None:
    position = np.array([0.0, 0.5, 1.0], dtype=np.float32)
    assert within((-1.0, 3.0), position).tolist() == [-1.0, 1.0, 3.0]
    assert within((3.0, -1.0), position).tolist() == [3.0, 1.0, -1.0]
    assert between((1.0, 16.0), position).tolist() == pytest.approx([1.0, 4.0, 16.0])
    assert within((0.0, 1.0), position).dtype == between((1.0, 2.0), position).dtype == np.float32


def test_limited_takes_both_ends_and_refuses_what_is_beyond() -> None:
    assert limited("x", (0.0, 2.0), 0, 2) == (0.0, 2.0)
    assert limited("x", (2.0, 0.0), 0, 2) == (2.0, 0.0)
    with pytest.raises(InputError, match=r"^x is \(0.0, 2.5\); expected both ends within \[0, 2\]$"):
        limited("x", (0.0, 2.5), 0, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_nearly_the_same_pixels(operator: Degradation, photo: Tensor, seeds: NDArray[np.int64]) -> None:
    here = operator.apply(photo, operator.draw(seeds))
    drawn = {name: value.cuda() for name, value in operator.draw(seeds).items()}
    there = operator.apply(photo.cuda(), drawn)
    assert torch.equal(there, operator.apply(photo.cuda(), drawn))
    close = (here - there.cpu()).abs() < 1.5 / 255  # rounding to 8 bits may tip over
    assert float(close.float().mean()) > 0.999
