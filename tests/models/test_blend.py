"""Mixtures of adapters, against PEFT and against the formula written out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn

from abair_pl.bundle import Bundle
from abair_pl.errors import AbairError, InputError
from abair_pl.models.adapters import Adapter, ConvUpdate, LowRankUpdate, adaptable_layers
from abair_pl.models.adapters.base import adaptable_layer
from abair_pl.models.adapters.experts import ConvExperts
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone, MixedLayer, Mixture

MIXTURES = [*torch.eye(5).tolist(), [0.5, 0.5, 0.0, 0.0, 0.0], [0.2] * 5, [1.0] * 5, [1.5, 0.0, -0.5, 0.0, 0.3]]
SIZES = [(16, 16), (24, 20), (17, 33), (40, 9), (5, 3), (1, 1)]
mixtures = pytest.mark.parametrize("mixture", MIXTURES, ids=str)
sizes = pytest.mark.parametrize("size", SIZES, ids=str)
Blend = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def peft_model(bundle: Bundle) -> Any:
    """PEFT with all adapters of the bundle."""
    folder = bundle.path / "adapters"
    first, *others = bundle.config.adapters
    model = PeftModel.from_pretrained(bundle.backbone(), str(folder / first), adapter_name=first)
    for name in others:
        model.load_adapter(str(folder / name), adapter_name=name)
    return model.eval()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 24, 20)


def concatenated(peft_model: Any, names: list[str], mixture: list[float], image: Tensor) -> Tensor:
    """What PEFT's own mixture of adapters restores."""
    used = {name: weight for name, weight in zip(names, mixture, strict=True) if weight}
    peft_model.add_weighted_adapter(list(used), list(used.values()), "mixture", combination_type="cat")
    peft_model.set_adapter("mixture")
    with torch.no_grad():
        restored: Tensor = peft_model(image)
    peft_model.delete_adapter("mixture")
    return restored


@contextmanager
def adapted(layers: Mapping[str, nn.Module], updates: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Add something to the outputs of layers."""
    hooks = [
        layer.register_forward_hook(lambda _, inputs, output, name=name: output + updates(name, inputs[0]))
        for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def at(maps: Tensor, x: Tensor, multiple_px: int) -> Tensor:
    """Maps ``(B, K, H, W)`` at a layer's resolution: reflected as the image is, the mean of what a pixel stands for."""
    padding = [(0, 0), (0, 0), *((0, -side % multiple_px) for side in maps.shape[2:])]
    padded = torch.from_numpy(np.pad(maps.detach().numpy(), padding, mode="reflect"))
    return F.avg_pool2d(padded, padded.shape[2] // x.shape[2])


@mixtures
def test_mixture_equals_peft_concatenation(
    blended: BlendedBackbone, peft_model: Any, image: Tensor, mixture: list[float]
) -> None:
    expected = concatenated(peft_model, blended.names, mixture, image)
    with torch.no_grad():
        torch.testing.assert_close(blended(image, torch.tensor([mixture])), expected, atol=1e-5, rtol=1e-5)


@mixtures
@sizes
def test_the_same_mixture_for_all_pixels_equals_peft_concatenation(
    blended: BlendedBackbone, peft_model: Any, mixture: list[float], size: tuple[int, int]
) -> None:
    images, maps = torch.rand(2, 3, *size), torch.tensor(mixture).view(1, 5, 1, 1).expand(2, -1, *size)
    expected = concatenated(peft_model, blended.names, mixture, images)
    with torch.no_grad():
        torch.testing.assert_close(blended(images, maps), expected, atol=1e-5, rtol=1e-5)


@sizes
def test_a_mixture_for_each_pixel_equals_pefts_adapters_added_by_hand(
    blended: BlendedBackbone, peft_model: Any, size: tuple[int, int]
) -> None:
    images, maps = torch.rand(2, 3, *size), torch.randn(2, 5, *size)
    layers = {name: layer for name, layer in peft_model.named_modules() if hasattr(layer, "lora_A")}
    multiple_px = blended.backbone.architecture.multiple_px

    def updates(name: str, x: Tensor) -> Tensor:
        layer: Any = layers[name]
        gates = at(maps, x, multiple_px)
        parts = (layer.scaling[key] * layer.lora_B[key](layer.lora_A[key](x)) for key in blended.names)
        return sum((gates[:, k, None] * part for k, part in enumerate(parts)), start=torch.zeros(()))

    with torch.no_grad(), peft_model.disable_adapter(), adapted(layers, updates):
        expected = peft_model(images)
        assert (blended(images, None) - expected).abs().max() > 1e-2, "the adapters should matter"
        torch.testing.assert_close(blended(images, maps), expected, atol=1e-5, rtol=1e-5)


def random_update(rank: int, inputs: int, outputs: int, scaling: float = 1.0) -> LowRankUpdate:
    return LowRankUpdate(torch.randn(rank, inputs), torch.randn(outputs, rank), scaling)


def random_conv_update(rank: int, scales: int, inputs: int, outputs: int, scaling: float = 1.0) -> ConvUpdate:
    halves = torch.randn(rank, inputs), torch.randn(outputs, rank)
    gate = torch.randn(scales, rank), torch.randn(scales)
    return ConvUpdate(*halves, scaling, *gate, torch.randn(scales, rank, rank, 3, 3) * 0.3, torch.randn(scales, rank))


def applied(update: LowRankUpdate, x: Tensor) -> Tensor:
    """An update's share of a layer's output, written out."""
    u = F.conv2d(x, update.down[:, :, None, None])
    if isinstance(update, ConvUpdate):
        experts = ConvExperts([len(update.down)], len(update.kernels)).eval()
        gate = {"gate_weight": update.gate_weight[None], "gate_bias": update.gate_bias[None]}
        experts.load_state_dict({**gate, "kernels": update.kernels, "biases": update.biases})
        u = u + experts(u)
    return F.conv2d(u, update.up[:, :, None, None]) * update.scaling


def mixed_adapters(backbone: Backbone) -> dict[str, Adapter]:
    """LoRA and Conv-LoRA of several ranks; one of them leaves every other layer alone."""
    adapters: dict[str, Adapter] = {"rain": {}, "haze": {}, "noise": {}, "blur": {}}
    for index, name in enumerate(adaptable_layers(backbone)):
        layer = adaptable_layer(backbone, name)
        sizes = layer.in_channels, layer.out_channels
        adapters["rain"][name] = random_update(2, *sizes, 0.05)
        adapters["haze"][name] = random_conv_update(3, 4, *sizes, 0.05)
        adapters["blur"][name] = random_conv_update(1, 2, *sizes, 0.05)
        if index % 2:
            adapters["noise"][name] = random_update(1, *sizes, 0.1)
    return adapters


@pytest.fixture(scope="module")
def mixed(make_backbone: Callable[..., Backbone]) -> tuple[BlendedBackbone, Blend]:
    """A blend of LoRA and Conv-LoRA, and the same written out on the plain backbone."""
    plain = make_backbone(window_px=2)
    adapters = mixed_adapters(plain)

    def by_hand(images: Tensor, weights: Tensor) -> Tensor:
        maps = weights if weights.ndim == 4 else weights[:, :, None, None].expand(-1, -1, *images.shape[2:])

        def updates(name: str, x: Tensor) -> Tensor:
            gates = at(maps, x, plain.architecture.multiple_px)
            own = [(k, adapter[name]) for k, adapter in enumerate(adapters.values()) if name in adapter]
            return sum((gates[:, k, None] * applied(update, x) for k, update in own), start=torch.zeros(()))

        with torch.no_grad(), adapted({name: plain.get_submodule(name) for name in adapters["rain"]}, updates):
            restored: Tensor = plain(images)
            return restored

    return BlendedBackbone(make_backbone(window_px=2), adapters).eval(), by_hand


@pytest.mark.parametrize("size", [(24, 20), (17, 33), (1, 1)])
@pytest.mark.parametrize("pixel", [False, True])
def test_lora_and_conv_lora_mix_as_written_out(
    mixed: tuple[BlendedBackbone, Blend], size: tuple[int, int], pixel: bool
) -> None:
    blend, by_hand = mixed
    images, weights = torch.rand(3, 3, *size), torch.randn(3, 4, *(size if pixel else ()))
    expected = by_hand(images, weights)
    with torch.no_grad():
        assert (blend(images, None) - expected).abs().max() > 1e-2, "the adapters should matter"
        torch.testing.assert_close(blend(images, weights), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("run", [BlendedBackbone.__call__, BlendedBackbone.at_once], ids=["one by one", "batched"])
def test_one_forward_serves_a_batch_of_different_mixtures(
    blended: BlendedBackbone, mixed: tuple[BlendedBackbone, Blend], run: Callable[..., Tensor]
) -> None:
    for blend, weights in ((blended, torch.tensor(MIXTURES)), (mixed[0], torch.randn(3, 4))):
        images = torch.rand(len(weights), 3, 24, 24)
        with torch.no_grad():
            alone = [blend(image[None], row[None]) for image, row in zip(images, weights, strict=True)]
            torch.testing.assert_close(run(blend, images, weights), torch.cat(alone), atol=1e-5, rtol=1e-5)
            assert (run(blend, images, weights) - run(blend, images, weights.flip(0))).abs().max() > 1e-2


def test_one_mixture_or_map_may_serve_all_images_and_is_stretched_over_them(blended: BlendedBackbone) -> None:
    images, mixture, maps = torch.rand(3, 3, 20, 24), torch.randn(1, 5), torch.randn(1, 5, 6, 7)
    stretched = F.interpolate(maps, (20, 24), mode="bilinear")
    with torch.no_grad():
        for one, each in ((mixture, mixture.expand(3, -1)), (maps, stretched.expand(3, -1, -1, -1))):
            torch.testing.assert_close(blended(images, one), blended(images, each), atol=1e-5, rtol=1e-5)


def test_no_weights_and_zero_weights_are_the_plain_backbone_and_so_are_labels(
    bundle: Bundle, blended: BlendedBackbone, image: Tensor
) -> None:
    with torch.no_grad():
        encoding = (backbone := bundle.backbone()).encode(image)
        for weights in (None, torch.zeros(1, 5), torch.zeros(1, 5, 24, 20)):
            torch.testing.assert_close(blended(image, weights), backbone.decode(encoding), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(blended.segment(image), backbone.segment(encoding), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 24, 20)])
def test_gradients_reach_the_weights_through_the_network_and_nothing_else(
    bundle: Bundle, shape: tuple[int, ...]
) -> None:
    blend = bundle.blended().eval().double()
    images, probe = (torch.rand(2, 3, 24, 20, dtype=torch.float64) for _ in range(2))
    weights, direction = torch.randn(2, *shape, dtype=torch.float64)

    def value(weights: Tensor) -> Tensor:
        return (blend.at_once(images, weights) * probe).sum()

    (gradient,) = torch.autograd.grad(value(weights.requires_grad_()), weights)
    assert gradient.ne(0).all()
    with torch.no_grad():
        step = 1e-3 * direction
        slope = (value(weights + step) - value(weights - step)) / 2e-3
    torch.testing.assert_close((gradient * direction).sum(), slope, atol=0.0, rtol=1e-3)
    assert not any(parameter.requires_grad for parameter in blend.parameters())


KINDS: dict[str, Callable[[], list[LowRankUpdate | None]]] = {
    "LoRA": lambda: [random_update(2, 3, 4), random_update(3, 3, 4, 0.5), None],
    "Conv-LoRA": lambda: [random_conv_update(2, 3, 3, 4), random_update(3, 3, 4, 0.5), random_conv_update(1, 2, 3, 4)],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3, 2), (2, 3, 6, 8)], ids=["soft", "pixel", "coarse layer"])
def test_layer_adds_each_update_by_its_weight_with_exact_gradients(
    kind: str, bias: bool, shape: tuple[int, ...]
) -> None:
    mixture, conv, updates = Mixture(), nn.Conv2d(3, 4, 1, bias=bias), KINDS[kind]()
    layer, x, weights = MixedLayer(conv, updates, mixture), torch.randn(2, 3, 3, 2), torch.randn(shape)
    gates = F.adaptive_avg_pool2d(weights, (3, 2)) if weights.ndim == 4 else weights[:, :, None, None]
    shares = (gates[:, k, None] * applied(part, x) for k, part in enumerate(updates) if part is not None)

    def mix(weights: Tensor, x: Tensor) -> Any:
        mixture.set(weights)
        return layer(x)

    torch.testing.assert_close(mix(weights, x), sum(shares, start=conv(x)), atol=1e-5, rtol=1e-5)
    layer.double()
    # The gate of Conv-LoRA sees the mean of the pixels in float32, too coarse for differences.
    inputs = weights.double().requires_grad_(), x.double().requires_grad_(kind == "LoRA")
    assert torch.autograd.gradcheck(mix, inputs)


@pytest.mark.parametrize("shape", [(1,), (2,), (2, 24, 20)])
def test_bf16_autocast_mixes_close_to_float32(
    blended: BlendedBackbone, mixed: tuple[BlendedBackbone, Blend], shape: tuple[int, ...]
) -> None:
    images = torch.rand(2, 3, 24, 20)
    for blend in (blended, mixed[0]):
        weights = torch.rand(shape[0], len(blend.names), *shape[1:])
        with torch.no_grad():
            expected = blend.at_once(images, weights)
            with torch.autocast("cpu", torch.bfloat16):
                restored = blend.at_once(images, weights)
        assert (restored - expected).abs().max() < 0.05 * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("shape", [(3, 5), (2, 4), (5,), (2, 4, 16, 16), (3, 5, 16, 16), (2, 5, 16)])
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
