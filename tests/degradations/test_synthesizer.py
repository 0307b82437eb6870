import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import BUILT_IN, Degradation, Plan, RandomNoise, Synthesizer
from abair_pl.errors import InputError

BATCH = 16
SEEDS = torch.arange(BATCH)
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def _built_in() -> list[Degradation]:
    return [operator() for operator in BUILT_IN.values()]


@pytest.fixture
def clean(photo: Tensor) -> Tensor:
    """``(16, 3, 40, 48)``."""
    return photo.repeat(BATCH // len(photo), 1, 1, 1)


@pytest.fixture
def cutmix() -> Synthesizer:
    """All built-in degradations, every sample with regions."""
    return Synthesizer(_built_in(), cutmix_probability=1.0)


def _painted(synthesizer: Synthesizer, clean: Tensor, records: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """One sample, region by region from its record alone: degraded ``(3, H, W)`` and labels ``(H, W)``."""
    height, width = clean.shape[1:]
    degraded, labels = torch.full_like(clean, torch.nan), torch.full((height, width), -1)
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    for record in records:
        name, parameters = record["degradation"], record["parameters"]
        layer = clean
        if name != "clean":
            tensors = {key: torch.tensor([value]) for key, value in parameters.items()}
            layer = BUILT_IN[name]()(clean[None], params=tensors)[0]
        left, top, right, bottom = record["box"]
        rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
        inside = torch.from_numpy(rows[:, None] & columns[None, :])
        degraded = torch.where(inside, layer, degraded)
        labels[inside] = ["clean", *synthesizer.names].index(name)
    return degraded, labels


def _records(synthesizer: Synthesizer, plan: Plan, sample: int) -> list[dict[str, Any]]:
    """A sample's record after a round trip through JSON."""
    records: list[dict[str, Any]] = json.loads(json.dumps(plan.record(sample, synthesizer.names), allow_nan=False))
    return records


def test_pixels_and_labels_are_those_of_the_recorded_regions(cutmix: Synthesizer, clean: Tensor) -> None:
    plan = cutmix.plan(SEEDS)
    synthesis = cutmix(clean, plan)
    for sample in range(BATCH):
        records = _records(cutmix, plan, sample)
        degraded, labels = _painted(cutmix, clean[sample], records)
        assert 2 <= len(records) <= 4
        assert [record["order"] for record in records] == list(range(len(records)))
        assert torch.equal(synthesis.labels[sample], labels)
        assert torch.equal(synthesis.degraded[sample], degraded)
    assert synthesis.plan is plan
    assert set(synthesis.labels.unique().tolist()) == set(range(6))


def test_label_zero_is_clean_bit_for_bit_and_others_are_not(cutmix: Synthesizer, clean: Tensor) -> None:
    synthesis = cutmix(clean, cutmix.plan(SEEDS))
    changed = (synthesis.degraded != clean).any(dim=1)
    assert not changed[synthesis.labels == 0].any()
    assert float(changed[synthesis.labels != 0].float().mean()) > 0.95


def test_synthesis_is_a_function_of_the_seeds(cutmix: Synthesizer, clean: Tensor) -> None:
    first, again = (cutmix(clean, cutmix.plan(SEEDS)) for _ in range(2))
    other = cutmix(clean, cutmix.plan(SEEDS + BATCH))
    assert torch.equal(first.degraded, again.degraded)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.degraded, other.degraded)


def test_a_sample_does_not_depend_on_the_rest_of_the_batch(cutmix: Synthesizer, clean: Tensor) -> None:
    together = cutmix(clean, cutmix.plan(SEEDS))
    for sample in range(0, BATCH, 5):
        alone = cutmix(clean[sample : sample + 1], cutmix.plan(SEEDS[sample : sample + 1]))
        assert torch.equal(alone.degraded[0], together.degraded[sample])
        assert torch.equal(alone.labels[0], together.labels[sample])


def test_clean_images_and_seeds_are_not_changed(cutmix: Synthesizer, clean: Tensor) -> None:
    image, seeds = clean.clone(), SEEDS.clone()
    cutmix(image, cutmix.plan(seeds))
    assert torch.equal(image, clean)
    assert torch.equal(seeds, SEEDS)


def test_without_cutmix_each_sample_is_of_one_degradation(clean: Tensor) -> None:
    synthesizer = Synthesizer(_built_in())
    labels = synthesizer(clean, synthesizer.plan(SEEDS)).labels
    first = labels[:, :1, :1]
    assert (labels == first).all()
    assert set(first.flatten().tolist()) == set(range(1, 6))


@pytest.mark.parametrize("cutmix_probability", [0.0, 0.5, 1.0])
def test_clean_probability_one_leaves_whole_samples_clean(clean: Tensor, cutmix_probability: float) -> None:
    synthesizer = Synthesizer(_built_in(), cutmix_probability=cutmix_probability, clean_probability=1.0)
    plan = synthesizer.plan(SEEDS)
    synthesis = synthesizer(clean, plan)
    whole = torch.from_numpy(np.bincount(plan.layout.sample) == 1)
    assert float(whole.float().mean()) == pytest.approx(1.0 - cutmix_probability, abs=0.3 * (cutmix_probability == 0.5))
    assert torch.equal(synthesis.degraded[whole], clean[whole])
    assert (synthesis.labels[whole] == 0).all()


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_only_gives_all_samples_one_whole_degradation(cutmix: Synthesizer, clean: Tensor, name: str) -> None:
    plan = cutmix.plan(SEEDS, only=name)
    synthesis = cutmix(clean, plan)
    label = 1 + cutmix.names.index(name)
    assert (synthesis.labels == label).all()
    assert torch.equal(synthesis.degraded, BUILT_IN[name]()(clean, params=dict(plan.parameters[label])))


def test_only_clean_gives_the_photographs_back(cutmix: Synthesizer, clean: Tensor) -> None:
    plan = cutmix.plan(SEEDS, only="clean")
    synthesis = cutmix(clean, plan)
    assert torch.equal(synthesis.degraded, clean)
    assert (synthesis.labels == 0).all()
    whole = {"degradation": "clean", "box": [0.0, 0.0, 1.0, 1.0], "order": 0, "parameters": {}}
    assert plan.record(3, cutmix.names) == [whole]


def test_records_name_every_parameter(cutmix: Synthesizer) -> None:
    plan = cutmix.plan(SEEDS)
    for sample in range(BATCH):
        for record in plan.record(sample, cutmix.names):
            name = record["degradation"]
            drawn = {} if name == "clean" else BUILT_IN[name]().draw(np.arange(1))
            assert record["parameters"].keys() == drawn.keys()


def test_operators_are_not_trained(cutmix: Synthesizer, clean: Tensor) -> None:
    assert list(cutmix.parameters()) == []
    assert not cutmix(clean.requires_grad_(), cutmix.plan(SEEDS)).degraded.requires_grad


def test_unknown_only_is_refused_with_the_known_names(cutmix: Synthesizer) -> None:
    with pytest.raises(InputError, match=r"unknown degradation 'rainy'; expected one of: clean, rain.*'rain'"):
        cutmix.plan(SEEDS, only="rainy")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"operators": []}, "expected at least one"),
        ({"operators": [RandomNoise(), RandomNoise()]}, "each named once"),
        ({"cutmix_regions": (1, 4)}, "cutmix_regions is"),
        ({"cutmix_regions": (2, 5)}, "cutmix_regions is"),
        ({"cutmix_regions": (4, 2)}, "cutmix_regions is"),
        ({"cutmix_probability": 1.5}, "cutmix_probability is 1.5"),
        ({"clean_probability": -0.1}, "clean_probability is -0.1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Synthesizer(**{"operators": _built_in(), **settings})


def test_something_else_than_a_degradation_is_refused(clean: Tensor) -> None:
    synthesizer = Synthesizer([RandomNoise()])
    synthesizer.operators[0] = torch.nn.Identity()
    with pytest.raises(TypeError, match="Identity; expected a Degradation"):
        synthesizer(clean, synthesizer.plan(SEEDS))


@CUDA
def test_cuda_paints_the_same_regions_and_nearly_the_same_pixels(cutmix: Synthesizer, clean: Tensor) -> None:
    plan = cutmix.plan(SEEDS)
    here, there = cutmix(clean, plan), cutmix.cuda()(clean.cuda(), plan)
    assert torch.equal(here.labels, there.labels.cpu())
    assert torch.allclose(here.degraded, there.degraded.cpu(), atol=1.5 / 255)
