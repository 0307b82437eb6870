from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from abair_pl.bundle import Bundle
from abair_pl.models.adapters import VeRA, adaptable_layers, as_linear
from abair_pl.models.adapters.vera import PixelLinear
from abair_pl.models.backbone import Backbone
from abair_pl.models.weights import fixed_weights


@pytest.mark.parametrize("bias", [True, False])
def test_a_pointwise_convolution_is_a_linear_layer_over_channels(bias: bool) -> None:
    conv, x = nn.Conv2d(5, 3, 1, bias=bias), torch.randn(2, 5, 4, 6)
    linear = PixelLinear(conv)
    torch.testing.assert_close(linear(x), conv(x))
    assert linear.linear.weight.data_ptr() == conv.weight.data_ptr(), "no copy of the weights"


def test_exactly_the_adaptable_layers_become_linear(make_backbone: Callable[..., Backbone]) -> None:
    plain, image = make_backbone(window_px=4), torch.rand(1, 3, 32, 32)
    linear = as_linear(make_backbone(window_px=4))
    replaced = [name for name, layer in linear.named_modules() if isinstance(layer, PixelLinear)]
    assert replaced == adaptable_layers(plain)
    torch.testing.assert_close(linear(image), plain(image), atol=1e-5, rtol=1e-5)


def test_peft_opens_an_adapter_and_computes_the_same(mixed: Bundle) -> None:
    model = PeftModel.from_pretrained(as_linear(mixed.backbone()), str(mixed.path / "adapters" / "haze")).eval()
    image, blended = torch.rand(2, 3, 20, 24), mixed.blended().eval()
    with torch.no_grad():
        restored = blended(image, fixed_weights({"haze": 1.0}, blended.names, 2))
        torch.testing.assert_close(restored, model(image), atol=1e-5, rtol=1e-5)


def test_two_vectors_for_each_layer_are_trained(bundle: Bundle, make_adapter: Callable[..., Any]) -> None:
    model, backbone = make_adapter(bundle, "rain", VeRA(rank=9)), bundle.backbone()
    outputs = [backbone.get_parameter(f"{layer}.weight").shape[0] for layer in adaptable_layers(backbone)]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == sum(outputs) + 9 * len(outputs)


def test_projections_follow_from_the_seed(bundle: Bundle) -> None:
    models = [VeRA(rank=3, seed=seed).attach(bundle.backbone(), "rain", "0" * 64) for seed in (1, 1, 2)]
    first, again, other = ({name: b for name, b in m.named_buffers() if "vera_A" in name} for m in models)
    assert first
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert not all(torch.equal(other[name], value) for name, value in first.items())
