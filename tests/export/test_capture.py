"""A traced restorer takes all sizes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from abair_pl.bundle import Bundle, save_adapter
from abair_pl.export.capture import MAX_SIDE_PX, captured
from abair_pl.export.restorer import ExportedRestorer, exported_restorer
from abair_pl.models.adapters import ConvLoRA
from abair_pl.models.backbone import Backbone
from abair_pl.restore import Abair

SIZES = [(1, 17, 17), (1, 40, 50), (2, 32, 64), (3, 64, 33)]


@torch.no_grad()
def test_sizes_of_the_traced_program_are_open(make_backbone: Callable[..., Backbone]) -> None:
    backbone = make_backbone(prompts=0, refinement_blocks=0, head_dim=0)
    program = captured(ExportedRestorer(backbone))
    assert sorted((bounds.lower, bounds.upper) for bounds in program.range_constraints.values())[1:] == [
        (17, MAX_SIDE_PX),
        (17, MAX_SIDE_PX),
    ]
    run = program.module()
    for images, height, width in SIZES:
        image = torch.rand(images, 3, height, width)
        expected = backbone(image).clamp(0.0, 1.0)
        torch.testing.assert_close(run(image), expected, atol=1e-5, rtol=0)
        other = image.to(memory_format=torch.channels_last)
        torch.testing.assert_close(run(other), expected, atol=1e-5, rtol=0)
    with pytest.raises(AssertionError, match="17"):
        run(torch.rand(1, 3, 16, 40))


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 40, 50), (2, 256, 128), (1, 128, 200)])
def test_windows_may_be_one_or_many(
    size: tuple[int, int, int], make_backbone: Callable[..., Backbone], windowed: Any
) -> None:
    image = torch.rand(size[0], 3, *size[1:])
    expected = make_backbone(window_px=8, prompts=0, head_dim=0)(image).clamp(0.0, 1.0)
    torch.testing.assert_close(windowed(image), expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def windowed(make_backbone: Callable[..., Backbone]) -> Any:
    """A traced network with window attention."""
    return captured(ExportedRestorer(make_backbone(window_px=8, prompts=0, head_dim=0))).module()


@pytest.mark.slow
@torch.no_grad()
def test_conv_lora_is_traced(bundle: Bundle, make_adapter: Callable[..., Any], tmp_path: Path) -> None:
    method = ConvLoRA(rank=2, experts=3)
    base = Bundle.open(bundle.path)
    made = save_adapter(tmp_path / "bundle", base, "rain", make_adapter(base, "rain", method), method, {})
    run, model = captured(exported_restorer(made, None)).module(), Abair(made, "cpu")
    for images, height, width in SIZES:
        image, weights = torch.rand(images, 3, height, width), torch.rand(images, 5)
        torch.testing.assert_close(run(image, weights), model.restore_tensor(image, weights), atol=1e-5, rtol=0)
