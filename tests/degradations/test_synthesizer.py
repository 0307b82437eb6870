from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations import (
    BUILT_IN,
    AnyDegradation,
    Composite,
    Degradation,
    RandomBitDepth,
    RandomDefocus,
    RandomGaussianNoise,
    RandomHaze,
    RandomJpeg,
    RandomRainStreaks,
    Synthesizer,
    parse_degradation,
    resolve_composites,
    resolve_degradations,
)
from abair_pl.degradations.random import smooth_field
from abair_pl.errors import InputError

BATCH = 24
SEEDS = torch.arange(BATCH)
NAMES = list(BUILT_IN)
COMPOSITES = ["blur+noise", "jpeg>rain", "low_light+haze"]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def built_in() -> list[AnyDegradation]:
    return resolve_degradations(NAMES)


@pytest.fixture
def clean(photo: Tensor) -> Tensor:
    """``(24, 3, 40, 48)``."""
    return photo.repeat(BATCH // len(photo), 1, 1, 1)


@pytest.fixture
def cutmix(built_in: list[AnyDegradation]) -> Synthesizer:
    """All built-in degradations, every sample with regions, half of them smooth."""
    return Synthesizer(built_in, cutmix_probability=1.0)


@pytest.fixture
def everything(built_in: list[AnyDegradation]) -> Synthesizer:
    """Composites too."""
    made = resolve_composites(COMPOSITES, built_in)
    return Synthesizer(
        built_in,
        made,
        composite_probability=0.4,
        cutmix_probability=0.6,
        clean_probability=0.15,
        smooth_probability=0.5,
    )


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """Let the test choose the number of threads."""
    yield
    torch.set_num_threads(1)


def _cover(region: dict[str, Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """How far a recorded region covers what lies beneath it."""
    if region["shape"] == "whole":
        return np.ones(size, dtype=np.float32)
    if region["shape"] == "rectangle":
        y, x = ((np.arange(side) + 0.5) / side for side in size)
        left, top, right, bottom = region["box"]
        return np.outer((y >= top) & (y < bottom), (x >= left) & (x < right)).astype(np.float32)
    field = smooth_field(torch.tensor([region["seed"]]), "cutmix/mask", size, octaves=2)[0, 0].numpy()
    level, softness = np.float32(region["level"]), np.float32(region["softness"])
    return np.clip((field - level) / softness + np.float32(0.5), 0.0, 1.0).astype(np.float32)


def _layer(synthesizer: Synthesizer, clean: Tensor, region: dict[str, Any]) -> tuple[Tensor, int, set[int]]:
    """One region's image, its leading label and all labels it has, by its record alone."""
    known = {(operator.name, operator.kind): operator for operator in synthesizer.operators}
    layer, changes, labels = clean[None], {0: 0.0}, {0}
    for step in region["steps"]:
        drawn = {
            name: torch.tensor([value], dtype=torch.int64 if name == "seed" else torch.float32)
            for name, value in step["parameters"].items()
        }
        after = known[step["degradation"], step["kind"]].apply(layer, drawn)
        changes[1 + synthesizer.names.index(step["degradation"])] = float((after - layer).abs().mean())
        layer, labels = after, set(changes) - {0}
    lead = max(sorted(labels, key=list(changes).index), key=lambda label: changes[label])
    return layer[0], lead, labels


def _painted(synthesizer: Synthesizer, clean: Tensor, record: list[dict[str, Any]]) -> tuple[Tensor, Tensor, Tensor]:
    """One sample, region by region from its record alone: degraded, labels and shares."""
    size = (clean.shape[1], clean.shape[2])
    bare, most = np.ones(size, dtype=np.float32), np.zeros(size, dtype=np.float32)
    degraded, labels = np.zeros(clean.shape, dtype=np.float64), np.zeros(size, dtype=np.int64)
    shares = np.zeros(len(synthesizer.names) + 1)
    for region in reversed(record):
        layer, lead, all_labels = _layer(synthesizer, clean, region)
        weight = bare * _cover(region, size)
        bare = bare - weight
        degraded += weight.astype(np.float64) * layer.numpy()
        labels[weight > most] = lead
        most = np.maximum(weight, most)
        shares[list(all_labels)] += weight.mean(dtype=np.float64)
    return torch.from_numpy(degraded), torch.from_numpy(labels), torch.from_numpy(shares)


def test_pixels_labels_and_shares_are_those_of_the_recorded_regions(everything: Synthesizer, clean: Tensor) -> None:
    plan = everything.plan(SEEDS)
    synthesis = everything(clean, plan)
    shapes, sources = set(), set()
    for sample in range(BATCH):
        record = plan.record(sample)
        shapes |= {region["shape"] for region in record}
        sources |= {region["source"] for region in record}
        degraded, labels, shares = _painted(everything, clean[sample], record)
        assert torch.equal(synthesis.labels[sample], labels)
        assert torch.allclose(synthesis.degraded[sample].double(), degraded, atol=1e-6)
        assert torch.allclose(synthesis.shares[sample].double(), shares, atol=1e-6)
    assert synthesis.plan is plan
    assert shapes == {"whole", "rectangle", "smooth"}
    assert "clean" in sources
    assert sources & set(everything.sources[1 + len(NAMES) :])
    assert synthesis.degraded.dtype == synthesis.shares.dtype == torch.float32
    assert synthesis.labels.dtype == torch.int64
    assert synthesis.shares.shape == (BATCH, len(NAMES) + 1)


def test_of_rectangles_shares_are_exactly_the_areas_of_the_labels(
    built_in: list[AnyDegradation], clean: Tensor
) -> None:
    synthesizer = Synthesizer(built_in, cutmix_probability=0.8, smooth_probability=0.0, clean_probability=0.2)
    synthesis = synthesizer(clean, synthesizer.plan(SEEDS))
    areas = torch.stack([torch.bincount(labels.flatten(), minlength=len(NAMES) + 1) for labels in synthesis.labels])
    assert torch.equal(synthesis.shares, areas / (40 * 48))
    assert torch.allclose(synthesis.shares.sum(dim=1), torch.ones(BATCH), atol=1e-6)
    assert set(synthesis.labels.unique().tolist()) == set(range(len(NAMES) + 1))


def test_smooth_masks_share_an_image_without_remainder(built_in: list[AnyDegradation], clean: Tensor) -> None:
    synthesizer = Synthesizer(built_in, cutmix_probability=1.0, smooth_probability=1.0)
    synthesis = synthesizer(clean, synthesizer.plan(SEEDS))
    assert torch.allclose(synthesis.shares.sum(dim=1), torch.ones(BATCH), atol=1e-5)
    assert ((synthesis.shares > 0).sum(dim=1) >= 2).all()


def test_clean_regions_are_clean_bit_for_bit(built_in: list[AnyDegradation], clean: Tensor) -> None:
    synthesizer = Synthesizer(built_in, cutmix_probability=1.0, smooth_probability=0.0)
    synthesis = synthesizer(clean, synthesizer.plan(SEEDS))
    changed = (synthesis.degraded != clean).any(dim=1)
    assert (synthesis.labels == 0).any()
    assert not changed[synthesis.labels == 0].any()
    assert float(changed[synthesis.labels != 0].float().mean()) > 0.9


def test_shares_of_a_composite_count_every_member(clean: Tensor) -> None:
    composite = Composite([RandomDefocus(), RandomGaussianNoise()])
    synthesizer = Synthesizer([RandomHaze(), RandomDefocus(), RandomGaussianNoise()], [composite])
    synthesis = synthesizer(clean, synthesizer.plan(SEEDS, only="blur+noise"))
    assert synthesis.shares.tolist() == [[0.0, 0.0, 1.0, 1.0]] * BATCH


@pytest.mark.parametrize(("sigma_8bit", "leader"), [(1.0, "blur"), (50.0, "noise")])
@pytest.mark.parametrize("physical_order", [True, False])
def test_the_member_that_changes_an_image_most_is_its_label(
    clean: Tensor, sigma_8bit: float, leader: str, physical_order: bool
) -> None:
    noise, blur = RandomGaussianNoise(sigma_8bit=(sigma_8bit, sigma_8bit)), RandomDefocus(radius_px=(6.0, 6.0))
    synthesizer = Synthesizer.only(Composite([blur, noise], physical_order))
    synthesis = synthesizer(clean, synthesizer.plan(SEEDS, only=synthesizer.sources[-1]))
    assert (synthesis.labels == 1 + synthesizer.names.index(leader)).all()


def test_only_wraps_one_degradation_or_a_composite() -> None:
    assert Synthesizer.only(RandomJpeg()).sources == ["clean", "jpeg"]
    made = Synthesizer.only(parse_degradation("jpeg>blur:radius=3"))
    assert made.names == ["jpeg", "blur"]
    assert made.sources == ["clean", "jpeg", "blur", "jpeg>blur"]


def test_synthesis_is_a_function_of_the_seeds(everything: Synthesizer, clean: Tensor) -> None:
    first, again = (everything(clean, everything.plan(SEEDS)) for _ in range(2))
    other = everything(clean, everything.plan(SEEDS + BATCH))
    assert torch.equal(first.degraded, again.degraded)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.degraded, other.degraded)


@pytest.mark.parametrize(("size", "count"), [((17, 23), 24), ((75, 151), 12), ((193, 181), 6)], ids=str)
def test_a_sample_depends_on_neither_batch_nor_threads(
    everything: Synthesizer, size: tuple[int, int], count: int, restored_threads: None
) -> None:
    images = smooth_field(torch.arange(3 * count), "photo", size, octaves=5).view(count, 3, *size)
    alone = [everything(images[i : i + 1], everything.plan(SEEDS[i : i + 1])) for i in range(count)]
    for threads, batch in ((1, 24), (1, 5), (2, 1), (2, 12), (3, 3)):
        torch.set_num_threads(threads)
        for start in range(0, count, batch):
            part = slice(start, min(start + batch, count))
            together = everything(images[part], everything.plan(SEEDS[part]))
            for name in ("degraded", "labels", "shares"):
                expected = torch.cat([getattr(made, name) for made in alone[part]])
                assert torch.equal(getattr(together, name), expected), f"{name}, {threads} threads, batch of {batch}"


def test_clean_images_and_seeds_are_not_changed(everything: Synthesizer, clean: Tensor) -> None:
    image, seeds, plan = clean.clone(), SEEDS.clone(), everything.plan(SEEDS)
    before = [plan.record(sample) for sample in range(BATCH)]
    everything(image, everything.plan(seeds))
    everything(image, plan)
    assert torch.equal(image, clean)
    assert torch.equal(seeds, SEEDS)
    assert [plan.record(sample) for sample in range(BATCH)] == before


@pytest.mark.parametrize("cutmix_probability", [0.0, 1.0])
def test_results_do_not_share_memory_with_the_photographs(
    built_in: list[AnyDegradation], clean: Tensor, cutmix_probability: float
) -> None:
    synthesizer = Synthesizer(built_in, cutmix_probability=cutmix_probability, clean_probability=1.0)
    image = clean.clone()
    made = synthesizer(image, synthesizer.plan(SEEDS))
    made.degraded.zero_()
    assert torch.equal(image, clean)


def test_without_cutmix_each_sample_is_of_one_degradation(built_in: list[AnyDegradation], clean: Tensor) -> None:
    synthesizer = Synthesizer(built_in)
    labels = synthesizer(clean, synthesizer.plan(SEEDS)).labels
    first = labels[:, :1, :1]
    assert (labels == first).all()
    assert set(first.flatten().tolist()) == set(range(1, len(NAMES) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_only_gives_all_samples_one_whole_degradation(
    cutmix: Synthesizer, built_in: list[AnyDegradation], clean: Tensor, name: str
) -> None:
    plan = cutmix.plan(SEEDS, only=name)
    synthesis = cutmix(clean, plan)
    label = 1 + NAMES.index(name)
    assert (synthesis.labels == label).all()
    assert (synthesis.shares == torch.eye(len(NAMES) + 1)[label]).all()
    expected = torch.empty_like(clean)
    for step in built_in[label - 1].steps(plan.layout.seed):
        rows = torch.from_numpy(step.rows)
        step.operator.apply_to_rows(clean, rows, step.parameters, expected, rows)
    assert torch.equal(synthesis.degraded, expected)


def test_only_clean_gives_the_photographs_back(cutmix: Synthesizer, clean: Tensor) -> None:
    plan = cutmix.plan(SEEDS, only="clean")
    synthesis = cutmix(clean, plan)
    assert torch.equal(synthesis.degraded, clean)
    assert (synthesis.labels == 0).all()
    assert (synthesis.shares[:, 0] == 1.0).all()
    (region,) = plan.record(3)
    assert {key: region[key] for key in ("source", "shape", "steps")} == {
        "source": "clean",
        "shape": "whole",
        "steps": [],
    }


@pytest.mark.parametrize("dial", [(0.0, 0.0), (0.25, 0.5), (1.0, 1.0)], ids=str)
def test_the_dial_reaches_every_operator(everything: Synthesizer, dial: tuple[float, float]) -> None:
    plan = everything.plan(SEEDS, dial=dial)
    severities = torch.cat([step.parameters["severity"] for step in plan.steps])
    assert dial[0] <= float(severities.min()) <= float(severities.max()) <= dial[1]
    assert len(severities) > BATCH


def test_operators_are_not_trained(everything: Synthesizer, clean: Tensor) -> None:
    assert list(everything.parameters()) == []
    assert not everything(clean.requires_grad_(), everything.plan(SEEDS)).degraded.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_photographs_of_any_floating_type_are_degraded_in_float32(
    everything: Synthesizer, clean: Tensor, dtype: torch.dtype
) -> None:
    made = everything(clean.to(dtype), everything.plan(SEEDS))
    assert made.degraded.dtype == torch.float32
    assert torch.equal(made.degraded, everything(clean.to(dtype).float(), everything.plan(SEEDS)).degraded)


def test_unknown_only_is_refused_with_the_known_names(cutmix: Synthesizer) -> None:
    with pytest.raises(InputError, match=r"unknown degradation 'rainy'; expected one of: clean, rain.*'rain'"):
        cutmix.plan(SEEDS, only="rainy")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"degradations": []}, "expected at least one"),
        ({"degradations": [RandomGaussianNoise(), RandomGaussianNoise()]}, "each named once"),
        ({"composites": [Composite([RandomJpeg(), RandomHaze()])] * 2}, "each named once"),
        (
            {"composites": [Composite([RandomBitDepth(), RandomHaze()])]},
            r"unknown member of composite haze\+bit_depth 'bit_depth'; expected one of: haze, jpeg, rain",
        ),
        ({"cutmix_regions": (1, 4)}, "cutmix_regions is"),
        ({"cutmix_regions": (2, 5)}, "cutmix_regions is"),
        ({"cutmix_regions": (4, 2)}, "cutmix_regions is"),
        ({"cutmix_probability": 1.5}, "cutmix_probability is 1.5; expected a share"),
        ({"clean_probability": -0.1}, "clean_probability is -0.1"),
        ({"smooth_probability": 2.0}, "smooth_probability is 2.0"),
        (
            {"frequencies": {"snow": 2.0}},
            "unknown degradation with a frequency 'snow'; expected one of: haze, jpeg, rain",
        ),
        ({"frequencies": {"haze": 0.0}}, "frequency of haze is 0.0; expected a number above 0"),
        ({"frequencies": {"haze": float("nan")}}, "frequency of haze is nan"),
        ({"composite_probability": 0.5}, "composite_probability is 0.5 without composites"),
        (
            {"composite_probability": float("nan"), "composites": [Composite([RandomJpeg(), RandomHaze()])]},
            "composite_probability is nan",
        ),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    degradations: list[Degradation] = [RandomHaze(), RandomJpeg(), RandomRainStreaks()]
    with pytest.raises(InputError, match=said):
        Synthesizer(**{"degradations": degradations, **settings})


@CUDA
def test_cuda_paints_the_same_regions_and_nearly_the_same_pixels(everything: Synthesizer, clean: Tensor) -> None:
    plan = everything.plan(SEEDS)
    here, there = everything(clean, plan), everything.cuda()(clean.cuda(), plan)
    assert float((here.labels == there.labels.cpu()).float().mean()) > 0.999
    assert torch.allclose(here.shares, there.shares.cpu(), atol=1e-5)
    close = (here.degraded - there.degraded.cpu()).abs() < 1.5 / 255
    assert float(close.float().mean()) > 0.999
