from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from abair_pl.losses import segmentation_loss
from abair_pl.models.backbone import Backbone, reflect_to_multiple
from abair_pl.models.presets import BackboneConfig

SIZES = [(1, 1), (7, 3), (33, 65), (64, 64)]
VARIANTS: list[dict[str, Any]] = [{}, {"window_px": 4}, {"unshuffle": 1, "gain": False}]


@pytest.fixture(scope="module")
def backbone(make_backbone: Callable[..., Backbone]) -> Backbone:
    return make_backbone()


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


@pytest.mark.parametrize("gain", [True, False])
def test_untrained_network_is_the_identity(architecture: BackboneConfig, gain: bool) -> None:
    image = torch.rand(2, 3, 20, 30)
    assert torch.equal(Backbone(replace(architecture, gain=gain), 6)(image), image)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
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
