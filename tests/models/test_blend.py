from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from abair_pl.bundle import Bundle
from abair_pl.errors import AbairError, InputError
from abair_pl.models.adapters import LowRankUpdate
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone, MixedLayer, Mixture, blend_weights, fixed_weights, parse_weights

MIXTURES = [[1.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0], [0.2] * 5, [1.5, 0.0, -0.5, 0.0, 0.3]]


@pytest.fixture(scope="module")
def peft_model(bundle: Bundle) -> Any:
    """PEFT with all adapters of the bundle."""
    folder = bundle.path / "adapters"
    first, *others = bundle.config.adapters
    model = PeftModel.from_pretrained(bundle.backbone(), str(folder / first), adapter_name=first)
    for name in others:
        model.load_adapter(str(folder / name), adapter_name=name)
    return model.eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 3, 24, 20, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_mixture_equals_peft_concatenation(
    blended: BlendedBackbone, peft_model: Any, image: torch.Tensor, mixture: list[float]
) -> None:
    used = {name: weight for name, weight in zip(blended.names, mixture, strict=True) if weight}
    peft_model.add_weighted_adapter(list(used), list(used.values()), "mixture", combination_type="cat")
    peft_model.set_adapter("mixture")
    with torch.no_grad():
        expected = peft_model(image)
        restored = blended(image, torch.tensor([mixture]))
    peft_model.delete_adapter("mixture")
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=1e-5)


def test_one_hot_equals_the_single_adapter(blended: BlendedBackbone, peft_model: Any, image: torch.Tensor) -> None:
    for index, name in enumerate(blended.names):
        peft_model.set_adapter(name)
        with torch.no_grad():
            restored = blended(image, torch.eye(5)[index : index + 1])
            torch.testing.assert_close(restored, peft_model(image), atol=1e-5, rtol=1e-5)


def test_one_forward_serves_a_batch_of_different_mixtures(blended: BlendedBackbone) -> None:
    images, weights = torch.rand(len(MIXTURES), 3, 24, 24), torch.tensor(MIXTURES)
    with torch.no_grad():
        alone = [blended(image[None], row[None]) for image, row in zip(images, weights, strict=True)]
        torch.testing.assert_close(blended(images, weights), torch.cat(alone), atol=1e-5, rtol=1e-5)
        assert (blended(images, weights) - blended(images, weights.flip(0))).abs().max() > 1e-2


def test_no_weights_and_zero_weights_are_the_plain_backbone(
    bundle: Bundle, blended: BlendedBackbone, image: torch.Tensor
) -> None:
    with torch.no_grad():
        expected = bundle.backbone()(image)
        torch.testing.assert_close(blended(image, None), expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(blended(image, torch.zeros(1, 5)), expected, atol=1e-6, rtol=1e-6)


def test_gradients_reach_the_weights_and_nothing_else(blended: BlendedBackbone, image: torch.Tensor) -> None:
    weights = torch.full((1, 5), 0.2, requires_grad=True)
    blended(image, weights).square().sum().backward()
    assert weights.grad is not None
    assert weights.grad.ne(0).all()
    assert not any(parameter.requires_grad for parameter in blended.parameters())


def random_update(rank: int, inputs: int, outputs: int, scaling: float = 1.0) -> LowRankUpdate:
    return LowRankUpdate(torch.randn(rank, inputs), torch.randn(outputs, rank), scaling)


@pytest.mark.parametrize("bias", [True, False])
def test_gradient_of_the_weights_is_exact(bias: bool) -> None:
    mixture = Mixture()
    updates = [random_update(2, 3, 4), random_update(3, 3, 4, 0.5), None]
    layer = MixedLayer(nn.Conv2d(3, 4, 1, bias=bias), updates, mixture).double()
    x = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)

    def mix(weights: torch.Tensor, x: torch.Tensor) -> Any:
        mixture.weights = weights
        return layer(x)

    weights = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mix, (weights, x))


def test_linear_layer_mixes_vectors_of_mixed_ranks() -> None:
    mixture, linear = Mixture(), nn.Linear(5, 3)
    first, second = random_update(1, 5, 3), random_update(4, 5, 3, 0.25)
    layer = MixedLayer(linear, [first, second], mixture)
    x, mixture.weights = torch.randn(2, 5), torch.tensor([[0.3, 0.0], [1.0, -2.0]])
    for index, (a, b) in enumerate(mixture.weights.tolist()):
        weight = linear.weight + a * first.up @ first.down + b * 0.25 * second.up @ second.down
        torch.testing.assert_close(layer(x)[index], x[index] @ weight.T + linear.bias)


def test_bf16_autocast_mixes_close_to_float32(blended: BlendedBackbone, image: torch.Tensor) -> None:
    weights = torch.full((1, 5), 0.2)
    with torch.no_grad():
        expected = blended(image, weights)
        with torch.autocast("cpu", torch.bfloat16):
            restored = blended(image, weights)
    assert (restored - expected).abs().max() < 0.05 * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("shape", [(1, 5), (2, 4), (5,)])
def test_weights_of_another_shape_are_refused(blended: BlendedBackbone, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"weights have shape .*; expected \(2, 5\)"):
        blended(torch.rand(2, 3, 16, 16), torch.zeros(shape))


def test_a_failed_forward_leaves_no_weights_behind(blended: BlendedBackbone) -> None:
    with pytest.raises(RuntimeError):
        blended(torch.rand(1, 4, 16, 16), torch.ones(1, 5))
    assert blended.mixture.weights is None


@pytest.mark.parametrize("layer", ["encoder.0.0.norm1", "encoder.0.0.nonsense"])
def test_an_update_of_what_is_no_layer_is_refused(make_backbone: Callable[..., Backbone], layer: str) -> None:
    with pytest.raises(AbairError, match=layer):
        BlendedBackbone(make_backbone(), {"rain": {layer: random_update(1, 8, 8)}})


def test_soft_weights_are_the_probabilities_without_clean() -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    assert torch.equal(blend_weights(probabilities, "soft"), probabilities[:, 1:])


def test_one_hot_weights_choose_the_likeliest_and_none_where_clean_wins() -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.7], [0.1, 0.5, 0.4], [0.4, 0.3, 0.3]])
    assert blend_weights(probabilities, "one_hot").tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]


def test_unknown_blend_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown blend 'sofd'; expected one of: one_hot, soft"):
        blend_weights(torch.rand(1, 3), "sofd")


def test_fixed_weights_follow_the_order_of_the_names() -> None:
    assert fixed_weights({"noise": 0.25, "rain": 0.5}, ["rain", "haze", "noise"], 2).tolist() == [[0.5, 0.0, 0.25]] * 2
    with pytest.raises(InputError, match=r"unknown adapter 'rian'.*did you mean 'rain'"):
        fixed_weights({"rian": 1.0}, ["rain"], 1)
    with pytest.raises(InputError, match="the weight of rain is nan; expected a finite number"):
        fixed_weights({"rain": float("nan")}, ["rain"], 1)


@pytest.mark.parametrize("text", ["rain", "rain=much", "rain=1=2", ""])
def test_weights_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME=NUMBER"):
        parse_weights(text)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_weights_that_are_no_numbers_are_refused(number: str) -> None:
    with pytest.raises(InputError, match=number):
        parse_weights(f"rain={number}")
