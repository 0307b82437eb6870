import pytest
import torch

from abair_pl.errors import InputError
from abair_pl.models.weights import (
    BLEND_MODES,
    IMAGE_BLENDS,
    RESERVED_NAMES,
    blend_weights,
    fixed_weights,
    keep_clean,
    parse_weights,
    pixel_weights,
)


def test_soft_weights_are_the_probabilities_without_clean() -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    assert torch.equal(blend_weights(probabilities, "soft"), probabilities[:, 1:])


def test_one_hot_weights_choose_the_likeliest_and_none_where_clean_wins() -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.7], [0.1, 0.5, 0.4], [0.4, 0.3, 0.3]])
    assert blend_weights(probabilities, "one_hot").tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(("mode", "weight"), [("sum", 1.0), ("average", 0.25)])
def test_sum_and_average_weigh_all_alike_whatever_is_likely(mode: str, weight: float) -> None:
    probabilities = torch.rand(3, 5).softmax(dim=1)
    assert blend_weights(probabilities, mode).tolist() == [[weight] * 4] * 3


@pytest.mark.parametrize("mode", IMAGE_BLENDS)
def test_weights_of_every_blend_have_the_type_of_the_probabilities(mode: str) -> None:
    probabilities = torch.rand(2, 4, dtype=torch.float64).softmax(dim=1)
    weights = blend_weights(probabilities, mode)
    assert (weights.shape, weights.dtype) == ((2, 3), torch.float64)


def test_what_is_clean_stays_as_far_as_it_is() -> None:
    degraded, restored = torch.zeros(3, 3, 2, 2), torch.ones(3, 3, 2, 2)
    weights = torch.tensor([[0.0, 0.0], [0.25, 0.5], [0.4, 0.6]])
    kept = keep_clean(degraded, restored, weights)
    torch.testing.assert_close(kept.mean(dim=(1, 2, 3)), torch.tensor([0.0, 0.75, 1.0]))
    assert torch.equal(kept[0], degraded[0])


def test_without_adapters_all_is_restored() -> None:
    restored = torch.ones(2, 3, 2, 2)
    assert torch.equal(keep_clean(torch.zeros(2, 3, 2, 2), restored, torch.zeros(2, 0)), restored)


def test_what_is_clean_stays_pixel_by_pixel() -> None:
    degraded, restored = torch.zeros(1, 3, 1, 2), torch.ones(1, 3, 1, 2)
    weights = torch.tensor([[[[0.0, 0.3]], [[0.0, 0.2]]]])
    torch.testing.assert_close(keep_clean(degraded, restored, weights), torch.tensor([0.0, 0.5]).expand(1, 3, 1, 2))


@pytest.mark.parametrize("mode", ["sofd", "pixel"])
def test_a_blend_that_is_not_one_of_images_names_those(mode: str) -> None:
    with pytest.raises(InputError, match=f"unknown blend '{mode}'; expected one of: one_hot, soft, sum, average"):
        blend_weights(torch.rand(1, 3), mode)


def test_blends_and_labels_are_no_names_of_adapters() -> None:
    assert {*IMAGE_BLENDS, "pixel"} == set(BLEND_MODES)
    assert {*BLEND_MODES, "none", "oracle", "clean", "unknown"} <= set(RESERVED_NAMES)


def test_pixel_weights_are_the_softmax_of_the_logits_in_the_order_of_the_adapters() -> None:
    logits = torch.randn(2, 4, 3, 5)
    shares = logits.softmax(dim=1)
    weights = pixel_weights(logits, ["rain", "haze", "noise"], ["noise", "rain"])
    torch.testing.assert_close(weights, shares[:, [3, 1]])


def test_a_label_counts_in_a_pixel_as_far_as_the_estimator_finds_it_in_the_image() -> None:
    logits, probabilities = torch.randn(2, 3, 4, 4), torch.tensor([[0.1, 0.6, 0.3], [0.0, 0.0, 1.0]])
    weights = pixel_weights(logits, ["rain", "haze"], ["rain", "haze"], probabilities)
    products = logits.softmax(dim=1) * probabilities[..., None, None]
    expected = products / products.sum(dim=1, keepdim=True)
    torch.testing.assert_close(weights, expected[:, 1:], atol=1e-4, rtol=1e-4)
    sure = torch.tensor([[0.0, 1.0, 0.0]])
    assert pixel_weights(logits[:1] * 0.1, ["rain", "haze"], ["rain", "haze"], sure)[:, 0].min() > 0.999


def test_a_label_without_an_adapter_keeps_its_share() -> None:
    logits, probabilities = torch.randn(2, 4, 3, 3), torch.tensor([[0.1, 0.6, 0.3], [0.0, 0.0, 1.0]])
    weights = pixel_weights(logits, ["rain", "haze", "noise"], ["rain", "noise"], probabilities)
    shares = logits.softmax(dim=1)
    products = shares[:, [0, 1, 3]] * probabilities[..., None, None]
    expected = products / products.sum(dim=1, keepdim=True) * (1.0 - shares[:, 2:3])
    torch.testing.assert_close(weights, expected[:, 1:], atol=1e-4, rtol=1e-4)


def test_evenly_probable_degradations_leave_it_to_the_pixel() -> None:
    logits, names = torch.randn(1, 3, 2, 2), ["rain", "haze"]
    even = pixel_weights(logits, names, names, torch.full((1, 3), 1 / 3))
    torch.testing.assert_close(even, pixel_weights(logits, names, names))


def test_pixel_weights_of_an_adapter_without_a_label_are_its_probability_and_the_others_share_the_rest() -> None:
    logits, probabilities = torch.randn(2, 3, 4, 4), torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.0]])
    weights = pixel_weights(logits, ["rain", "haze"], ["rain", "snow", "haze"], probabilities)
    known = pixel_weights(logits, ["rain", "haze"], ["rain", "haze"], probabilities[:, [0, 1, 3]])
    snow = probabilities[:, 2].view(2, 1, 1)
    expected = [known[:, 0] * (1.0 - snow), snow.expand(2, 4, 4), known[:, 1] * (1.0 - snow)]
    torch.testing.assert_close(weights, torch.stack(expected, dim=1))
    assert weights.sum(dim=1).max() <= 1.0 + 1e-6


def test_pixel_weights_of_an_adapter_without_a_label_need_probabilities() -> None:
    with pytest.raises(InputError, match="does not know snow, fog; expected the estimator's probabilities too"):
        pixel_weights(torch.randn(1, 2, 2, 2), ["rain"], ["snow", "rain", "fog"])


def test_pixel_weights_are_float32_and_carry_gradients() -> None:
    logits = torch.randn(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    weights = pixel_weights(logits, ["rain", "haze"], ["rain", "haze"])
    assert weights.dtype is torch.float32
    weights[:, 0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.ne(0).all()


def test_fixed_weights_follow_the_order_of_the_names() -> None:
    assert fixed_weights({"noise": 0.25, "rain": 0.5}, ["rain", "haze", "noise"], 2).tolist() == [[0.5, 0.0, 0.25]] * 2
    with pytest.raises(InputError, match=r"unknown adapter 'rian'.*did you mean 'rain'"):
        fixed_weights({"rian": 1.0}, ["rain"], 1)
    with pytest.raises(InputError, match="the weight of rain is nan; expected a finite number"):
        fixed_weights({"rain": float("nan")}, ["rain"], 1)


def test_weights_are_parsed_by_name() -> None:
    assert parse_weights(" rain = 0.7,noise=-1e-1") == {"rain": 0.7, "noise": -0.1}


@pytest.mark.parametrize("text", ["rain", "rain=much", "rain=1=2", ""])
def test_weights_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME=NUMBER"):
        parse_weights(text)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_weights_that_are_no_numbers_are_refused(number: str) -> None:
    with pytest.raises(InputError, match=number):
        parse_weights(f"rain={number}")


def test_pixel_weights_without_adapters_are_none() -> None:
    assert pixel_weights(torch.rand(2, 3, 4, 5), ["rain", "haze"], []).shape == (2, 0, 4, 5)


@pytest.mark.parametrize("text", ["rain=0.7,rain=0.3", "rain=0.5,noise=1, rain =0.5"])
def test_a_name_given_twice_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"weights are '{text}'; expected each name once"):
        parse_weights(text)


@pytest.mark.parametrize("number", ["100.5", "-1e30"])
def test_weights_far_beyond_reason_are_refused(number: str) -> None:
    with pytest.raises(InputError, match=r"the weight of rain is .*; expected a number such as 0\.7, from -100 to 100"):
        parse_weights(f"noise=1,rain={number}")
    assert parse_weights("rain=100,noise=-100") == {"rain": 100.0, "noise": -100.0}
