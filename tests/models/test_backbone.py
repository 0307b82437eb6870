from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.losses import segmentation_loss
from abair_pl.models.backbone import Backbone, reflect_to_multiple
from abair_pl.models.presets import BackboneConfig

SIZES = [(1, 1), (7, 3), (33, 65), (64, 64)]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"window_px": 4},
    {"unshuffle": 1, "gain": False},
    {"prompts": 0},
    {"prompts": 0, "window_px": 4},
    {"head_blocks": 1},
    {"centred_norm": False},
    {"refinement_blocks": 0},
]
variants = pytest.mark.parametrize("changes", VARIANTS, ids=str)


@pytest.fixture(scope="module")
def backbone(make_backbone: Callable[..., Backbone]) -> Backbone:
    return make_backbone()


def loss(backbone: Backbone, image: Tensor) -> Tensor:
    encoding = backbone.encode(image)
    return backbone.decode(encoding).square().mean() + backbone.segment(encoding).square().mean()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 3])
def test_output_has_the_size_of_the_input(backbone: Backbone, batch: int, size: tuple[int, int]) -> None:
    image = torch.rand(batch, 3, *size)
    with torch.no_grad():
        encoding = backbone.encode(image)
        restored = backbone.decode(encoding)
        assert restored.shape == image.shape
        assert restored.isfinite().all()
        assert torch.equal(restored, backbone(image))
        assert backbone.segment(encoding).shape == (batch, 6, *size)


@pytest.mark.parametrize("size", SIZES)
def test_bf16_autocast_stays_close_to_float32(backbone: Backbone, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected = backbone(image)
        with torch.autocast("cpu", torch.bfloat16):
            restored = backbone(image)
    assert restored.shape == image.shape
    assert (restored - expected).abs().max() < 0.05 * max(1.0, expected.abs().max().item())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_the_cpu(make_backbone: Callable[..., Backbone]) -> None:
    backbone, image = make_backbone(), torch.rand(2, 3, 33, 65)
    with torch.no_grad():
        expected = backbone(image)
        torch.testing.assert_close(backbone.cuda()(image.cuda()).cpu(), expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("size", [(33, 65), (64, 64)])
def test_memory_format_does_not_change_the_result(
    make_backbone: Callable[..., Backbone], size: tuple[int, int]
) -> None:
    backbone, image = make_backbone(window_px=4), torch.rand(2, 3, *size)
    with torch.no_grad():
        expected = backbone(image)
        restored = backbone.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))  # type: ignore[call-overload]  # missing in torch's stubs
    torch.testing.assert_close(restored, expected, atol=1e-4, rtol=1e-4)


@variants
def test_untrained_network_is_the_identity(architecture: BackboneConfig, changes: dict[str, Any]) -> None:
    image = torch.rand(2, 3, 20, 30)
    assert torch.equal(Backbone(replace(architecture, **changes), 6)(image), image)


@variants
@pytest.mark.parametrize("trained", [True, False])
def test_a_black_image_gives_finite_results_and_gradients(
    architecture: BackboneConfig, make_backbone: Callable[..., Backbone], changes: dict[str, Any], trained: bool
) -> None:
    backbone = make_backbone(**changes) if trained else Backbone(replace(architecture, **changes), 6)
    result = loss(backbone, torch.zeros(1, 3, 16, 16))
    result.backward()
    gradients = [parameter.grad for parameter in backbone.parameters() if parameter.grad is not None]
    assert all(value.isfinite().all() for value in (result, *gradients))


def test_without_prompts_there_are_none_and_what_follows_has_other_widths(
    make_backbone: Callable[..., Backbone],
) -> None:
    backbone = make_backbone(prompts=0)
    assert not any("prompt" in name for name, _ in backbone.named_parameters())
    # As in Restormer, the coarsest level enters the decoder with all its channels.
    assert [next(up.parameters()).shape[1] for up in backbone.up] == [16, 32, 64]
    assert [next(up.parameters()).shape[1] for up in make_backbone().up] == [16, 32, 32]


def test_without_a_head_it_restores_the_same_and_refuses_to_segment(make_backbone: Callable[..., Backbone]) -> None:
    backbone, headless, image = make_backbone(), make_backbone(head_dim=0), torch.rand(1, 3, 20, 30)
    assert headless.segmentation_head is None
    body = {name: value for name, value in backbone.state_dict().items() if not name.startswith("segmentation_head")}
    headless.load_state_dict(body)
    with torch.no_grad():
        assert torch.equal(headless(image), backbone(image))
        message = "no segmentation head; expected a preset with one: tiny, small or paper"
        with pytest.raises(InputError, match=message):
            headless.segment(headless.encode(image))


@pytest.mark.parametrize(("window_px", "unshuffle", "stride_px"), [(0, 1, 8), (0, 2, 16), (4, 1, 32), (4, 2, 64)])
def test_stride_of_windows_is_that_of_the_coarsest_level(
    make_backbone: Callable[..., Backbone], window_px: int, unshuffle: int, stride_px: int
) -> None:
    assert make_backbone(window_px=window_px, unshuffle=unshuffle).window_stride_px == stride_px


@pytest.mark.parametrize("changes", [{}, {"window_px": 4}, {"prompts": 0}], ids=str)
def test_checkpointing_changes_neither_results_nor_gradients(
    make_backbone: Callable[..., Backbone], changes: dict[str, Any]
) -> None:
    backbone, image = make_backbone(**changes).train(), torch.rand(2, 3, 24, 40, requires_grad=True)
    found = []
    for backbone.checkpointing in (False, True):
        result = loss(backbone, image)
        result.backward()
        found.append([result.detach(), image.grad, *(parameter.grad for parameter in backbone.parameters())])
        image.grad = None
        backbone.zero_grad()
    assert all(value is not None and value.any() for value in found[0])
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


def kept_sizes(backbone: Backbone, image: Tensor) -> list[int]:
    """Elements of each tensor that is kept for the backward pass, parameters and doubles left out."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in backbone.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in parameters:
            kept[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone(image).sum()
    return [tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values()]


def test_checkpointing_keeps_what_enters_the_blocks_and_not_what_is_inside(
    make_backbone: Callable[..., Backbone],
) -> None:
    """More blocks inside, and only one more tensor of the size of the input for each."""
    image, kept = torch.rand(1, 3, 32, 32), {}
    for blocks in (1, 3):
        backbone = make_backbone(prompts=0, refinement_blocks=blocks, unshuffle=1).train()
        for backbone.checkpointing in (False, True):
            kept[blocks, backbone.checkpointing] = kept_sizes(backbone, image)
    assert sorted(kept[3, True]) == sorted([*kept[1, True], *[16 * 32 * 32] * 2])
    assert sum(kept[3, False]) - sum(kept[1, False]) > 2 * 10 * 16 * 32 * 32
    assert sum(kept[1, True]) < 0.5 * sum(kept[1, False])


def test_without_gradients_nothing_is_checkpointed(
    make_backbone: Callable[..., Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a checkpoint was made")

    monkeypatch.setattr("abair_pl.models.backbone.checkpoint", refuse)
    backbone, image = make_backbone(), torch.rand(1, 3, 16, 16)
    backbone.checkpointing = True
    with torch.no_grad():
        backbone(image)


@variants
def test_every_parameter_is_trained(make_backbone: Callable[..., Backbone], changes: dict[str, Any]) -> None:
    backbone = make_backbone(**changes)
    image, labels = torch.rand(2, 3, 32, 32), torch.randint(6, (2, 32, 32))
    encoding = backbone.encode(image)
    (backbone.decode(encoding).abs().mean() + segmentation_loss(backbone.segment(encoding), labels)).backward()
    unused = [name for name, value in backbone.named_parameters() if value.grad is None or not value.grad.any()]
    assert unused == []


def test_images_of_a_batch_do_not_mix(backbone: Backbone) -> None:
    image = torch.rand(3, 3, 24, 24)
    with torch.no_grad():
        alone = torch.cat([backbone(one[None]) for one in image])
        torch.testing.assert_close(backbone(image), alone, atol=1e-5, rtol=1e-5)


def test_forward_leaves_its_input_alone(backbone: Backbone) -> None:
    image = torch.rand(1, 3, 16, 16)
    before = image.clone()
    backbone(image)
    assert torch.equal(image, before)


@pytest.mark.parametrize("size", [(9, 17), (16, 30), (12, 16), (16, 16)])
def test_reflection_equals_torch_where_that_is_legal(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    expected = F.pad(image, (0, -size[1] % 16, 0, -size[0] % 16), mode="reflect")
    assert torch.equal(reflect_to_multiple(image, 16), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (4, 17)])
def test_reflection_extends_images_smaller_than_what_they_lack(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    extended = reflect_to_multiple(image, 16)
    assert extended.shape[2:] == tuple(-(-side // 16) * 16 for side in size)
    assert torch.equal(extended[..., : size[0], : size[1]], image)
    assert torch.isin(extended, image).all()


def test_reflection_of_three_pixels_goes_back_and_forth() -> None:
    row = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3).expand(1, 1, 8, 3)
    assert reflect_to_multiple(row, 8)[0, 0, 0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]
