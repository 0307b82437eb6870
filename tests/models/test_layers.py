import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.layers import (
    ChannelAttention,
    ChannelNorm,
    Downsample,
    GatedFeedForward,
    RestorationBlock,
    Upsample,
    WindowAttention,
)


def test_channel_norm_is_layer_norm_over_channels() -> None:
    layer, reference = ChannelNorm(6), nn.LayerNorm(6)
    assert layer.bias is not None
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, 5, 3)
    expected = reference(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x), expected)


def test_channel_norm_that_is_not_centred_only_divides_by_the_deviation() -> None:
    layer, x = ChannelNorm(6, centred=False), torch.randn(2, 6, 5, 3) + 2.0
    nn.init.normal_(layer.weight)
    assert layer.bias is None
    deviation = (x.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), x / deviation * layer.weight.view(1, 6, 1, 1))


@pytest.mark.parametrize("centred", [True, False])
def test_channel_norm_keeps_the_type_outside_autocast(centred: bool) -> None:
    assert ChannelNorm(6, centred).bfloat16()(torch.randn(1, 6, 2, 2).bfloat16()).dtype is torch.bfloat16


def textbook_channel_attention(layer: ChannelAttention, x: Tensor) -> Tensor:
    """Restormer's equation 1 as its authors write it: normalise q and k over the pixels, then softmax."""
    b, c, h, w = x.shape
    shape = (b, layer.heads, c // layer.heads, h * w)
    q, k, v = (part.reshape(shape) for part in layer.qkv_dwconv(layer.qkv(x)).chunk(3, dim=1))
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    attention = (q @ k.transpose(-2, -1) * layer.temperature).softmax(dim=-1)
    mixed: Tensor = layer.project_out((attention @ v).reshape(b, c, h, w))
    return mixed


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_channel_attention_equals_the_textbook(heads: int) -> None:
    layer = ChannelAttention(8, heads)
    nn.init.normal_(layer.temperature, 3.0)
    x = torch.randn(2, 8, 6, 5)
    torch.testing.assert_close(layer(x), textbook_channel_attention(layer, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("brightness", [0.0, 1e-20, 1e-12, 1e-6])
def test_channel_attention_of_a_dark_image_is_finite_and_has_finite_gradients(brightness: float) -> None:
    layer = ChannelAttention(4, 2)
    x = (torch.rand(1, 4, 4, 4) * brightness).requires_grad_()
    y = layer(x)
    y.sum().backward()
    found = [y, x.grad, *(parameter.grad for parameter in layer.parameters())]
    assert all(value is not None and value.isfinite().all() for value in found)


@pytest.mark.parametrize(("size", "pixel"), [((12, 8), (5, 2)), ((10, 7), (9, 6)), ((3, 2), (1, 1))])
def test_window_attention_stays_inside_its_window(size: tuple[int, int], pixel: tuple[int, int]) -> None:
    side = 4
    layer = WindowAttention(8, 2, side)
    x = torch.randn(1, 8, *size)
    changed = x.clone()
    changed[..., pixel[0], pixel[1]] += 1.0
    moved = (layer(x) - layer(changed)).abs().amax(dim=(0, 1)) > 0
    window = torch.zeros(size, dtype=torch.bool)
    top, left = (index // side * side for index in pixel)
    window[top : top + side, left : left + side] = True
    assert torch.equal(moved, window)


def test_window_attention_equals_the_textbook() -> None:
    """One head, one window: softmax(q k / sqrt(c) + bias of the offset) v, pixel by pixel."""
    side, dim = 3, 4
    layer = WindowAttention(dim, 1, side)
    nn.init.normal_(layer.position_bias)
    x = torch.randn(1, dim, side, side)
    q, k, v = layer.qkv(x).flatten(2)[0].chunk(3)
    bias = layer.position_bias.view(2 * side - 1, 2 * side - 1)
    expected = torch.empty(dim, side * side)
    for i in range(side * side):
        scores = [
            q[:, i] @ k[:, j] / dim**0.5 + bias[i // side - j // side + side - 1, i % side - j % side + side - 1]
            for j in range(side * side)
        ]
        expected[:, i] = v @ torch.stack(scores).softmax(dim=0)
    torch.testing.assert_close(layer(x), layer.project_out(expected.view(1, dim, side, side)), atol=1e-5, rtol=1e-5)


def test_feed_forward_gates_one_half_by_the_other() -> None:
    layer = GatedFeedForward(4, 1.5)
    x = torch.randn(1, 4, 5, 5)
    gate, value = layer.dwconv(layer.project_in(x)).split(6, dim=1)
    torch.testing.assert_close(layer(x), layer.project_out(F.gelu(gate) * value))


@pytest.mark.parametrize("centred_norm", [True, False])
@pytest.mark.parametrize("window_px", [0, 4])
def test_block_with_silent_branches_is_the_identity(window_px: int, centred_norm: bool) -> None:
    block = RestorationBlock(8, 2, 1.5, window_px, centred_norm)
    norms = [layer for layer in block.modules() if isinstance(layer, ChannelNorm)]
    assert [norm.bias is not None for norm in norms] == [centred_norm] * (3 if window_px else 2)
    x = torch.randn(1, 8, 6, 6)
    assert not torch.equal(block(x), x)
    for name, parameter in block.named_parameters():
        if "project_out" in name:
            nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), x)


def test_down_and_up_trade_resolution_for_channels() -> None:
    x = torch.randn(1, 6, 8, 4)
    assert Downsample(6)(x).shape == (1, 12, 4, 2)
    assert Upsample(6)(x).shape == (1, 3, 16, 8)
