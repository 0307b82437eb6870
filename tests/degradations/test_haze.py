import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations import Parameters, RandomHaze, Synthesizer

SIZE = (40, 48)


def _airlight(parameters: Parameters) -> Tensor:
    channels = [parameters[f"airlight_{color}"] for color in ("red", "green", "blue")]
    return torch.stack(channels, dim=1)[..., None, None]


def _law(photo: Tensor, parameters: Parameters, depth: Tensor) -> Tensor:
    transmission = torch.exp(-parameters["beta"].view(-1, 1, 1, 1) * depth)
    return photo * transmission + _airlight(parameters) * (1.0 - transmission)


@pytest.mark.parametrize("given", [False, True], ids=["prior", "depth"])
def test_haze_obeys_koschmieders_law(photo: Tensor, seeds: NDArray[np.int64], given: bool) -> None:
    operator = RandomHaze()
    parameters = operator.draw(seeds)
    depth = torch.rand(4, 1, *SIZE) if given else operator.procedural_depth(parameters, SIZE)
    degraded = operator.apply(photo, {**parameters, **({"depth": depth} if given else {})})
    assert torch.allclose(degraded, _law(photo, parameters, depth), atol=1e-6)


def test_samples_without_depth_get_the_prior_bit_for_bit(photo: Tensor, seeds: NDArray[np.int64]) -> None:
    operator = RandomHaze()
    depth = torch.rand(4, 1, *SIZE)
    depth[1::2] = torch.nan
    parameters = operator.draw(seeds)
    mixed = operator.apply(photo, {**parameters, "depth": depth})
    assert torch.equal(mixed[1::2], operator.apply(photo, parameters)[1::2])
    full = operator.apply(photo, {**parameters, "depth": depth.nan_to_num(0.5)})
    assert torch.equal(mixed[::2], full[::2])
    assert not torch.equal(mixed[0], operator.apply(photo, parameters)[0])


def test_the_synthesizer_hands_each_sample_its_own_depth(photo: Tensor) -> None:
    synthesizer = Synthesizer([RandomHaze()])
    depth = torch.rand(4, 1, *SIZE)
    depth[2] = torch.nan
    plan = synthesizer.plan(torch.arange(4))
    hazed = synthesizer(photo, plan, depth).degraded
    assert torch.equal(hazed[2], synthesizer(photo, plan).degraded[2])
    (step,) = plan.steps
    for index in (0, 1, 3):
        row = {name: value[index : index + 1] for name, value in step.parameters.items()}
        expected = _law(photo[index : index + 1], row, depth[index : index + 1])
        assert torch.allclose(hazed[index : index + 1], expected, atol=1e-6)


def test_far_is_hazier_than_near(photo: Tensor, seeds: NDArray[np.int64]) -> None:
    depth = torch.linspace(0.0, 1.0, 40).view(1, 1, -1, 1).expand(4, 1, *SIZE)
    operator = RandomHaze(severity=(1.0, 1.0))
    parameters = operator.draw(seeds)
    degraded = operator.apply(photo, {**parameters, "depth": depth})
    assert torch.equal(degraded[:, :, 0], photo[:, :, 0])
    off = (degraded - _airlight(parameters)).abs() / (photo - _airlight(parameters)).abs().clamp_min(1e-3)
    assert (off.mean(dim=(0, 1, 3)).diff() < 0).all()


def test_the_prior_recedes_from_near_at_the_bottom_to_far_at_the_top() -> None:
    operator = RandomHaze()
    parameters = operator.draw(np.arange(64))
    depth = operator.procedural_depth(parameters, (32, 40))
    assert depth.shape == (64, 1, 32, 40)
    assert (depth >= parameters["near"].view(-1, 1, 1, 1) - 1e-6).all()
    assert float(depth.max()) <= 1.0 + 1e-6
    assert float(depth[:, :, :8].mean()) > float(depth[:, :, -8:].mean()) + 0.1
    assert len(depth.mean((1, 2, 3)).unique()) == 64


def test_airlight_is_within_its_range_and_slightly_coloured() -> None:
    airlight = _airlight(RandomHaze(airlight=(0.7, 0.9), tint=0.03).draw(np.arange(500)))
    assert 0.67 <= float(airlight.min()) < float(airlight.max()) <= 0.93
    spread = airlight.amax(1) - airlight.amin(1)
    assert 0.0 < float(spread.mean()) < float(spread.max()) <= 0.06 + 1e-6
    assert torch.equal(_airlight(RandomHaze(tint=0.0).draw(np.arange(9))).std(dim=1).max(), torch.tensor(0.0))


def test_without_scattering_nothing_changes(photo: Tensor) -> None:
    assert torch.allclose(RandomHaze(beta=(0.0, 0.0))(photo), photo, atol=1e-6)


def test_dense_haze_is_all_airlight(photo: Tensor, seeds: NDArray[np.int64]) -> None:
    operator = RandomHaze(beta=(20.0, 20.0), tint=0.02)
    parameters = operator.draw(seeds)
    far = operator.apply(photo, {**parameters, "depth": torch.ones(4, 1, *SIZE)})
    assert torch.allclose(far, _airlight(parameters).expand_as(far), atol=1e-6)
