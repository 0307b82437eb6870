"""What is exported restores as the bundle does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from abair_pl.bundle import Bundle, save_adapter
from abair_pl.errors import InputError
from abair_pl.export.restorer import ExportedRestorer, exported_restorer
from abair_pl.models.adapters import ConvLoRA
from abair_pl.restore import Abair


@pytest.fixture
def convolving(bundle: Bundle, make_adapter: Callable[..., Any], tmp_path: Path) -> Bundle:
    """The complete bundle with a Conv-LoRA in the place of one adapter."""
    method = ConvLoRA(rank=2, experts=3)
    return save_adapter(tmp_path / "bundle", bundle, "rain", make_adapter(bundle, "rain", method), method, {})


@torch.no_grad()
def test_it_restores_as_the_bundle_does(bundle: Bundle, differs: Callable[..., float]) -> None:
    restorer = exported_restorer(bundle, None)
    assert restorer.names == ["rain", "haze", "noise", "blur", "low_light"]
    assert differs(restorer) < 1e-5
    assert differs(lambda image, weights: restorer(image, weights.flip(1))) > 1e-3, "the order of the weights counts"


@torch.no_grad()
def test_a_mixture_that_is_merged_in(bundle: Bundle, model: Abair) -> None:
    restorer = exported_restorer(bundle, "rain=0.7,haze=0.3")
    assert restorer.names == []
    image = torch.rand(2, 3, 33, 48)
    expected = model.restore_tensor(image, torch.tensor([[0.7, 0.3, 0.0, 0.0, 0.0]]).repeat(2, 1))
    torch.testing.assert_close(restorer(image), expected, atol=1e-5, rtol=0)
    assert (restorer(image) - exported_restorer(bundle, "rain=0.7")(image)).abs().max() > 1e-3


@torch.no_grad()
def test_results_are_clamped(bundle: Bundle) -> None:
    restored = exported_restorer(bundle, "rain=30")(torch.rand(1, 3, 40, 40))
    assert (restored.min(), restored.max()) == (0.0, 1.0)


@torch.no_grad()
def test_a_bundle_without_adapters(backbone_path: Path) -> None:
    bundle, image = Bundle.open(backbone_path), torch.rand(1, 3, 40, 50)
    restorer = exported_restorer(bundle, None)
    assert restorer.names == []
    expected = bundle.backbone().eval()(image).clamp(0.0, 1.0)
    torch.testing.assert_close(restorer(image), expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_all_experts_of_a_conv_lora_run(convolving: Bundle) -> None:
    restorer, model = exported_restorer(convolving, None), Abair(convolving, "cpu")
    image, weights = torch.rand(3, 3, 40, 50), torch.rand(3, 5)
    torch.testing.assert_close(restorer(image, weights), model.restore_tensor(image, weights), atol=1e-5, rtol=0)


def test_conv_lora_cannot_be_merged(convolving: Bundle) -> None:
    with pytest.raises(InputError, match="rain is a Conv-LoRA"):
        exported_restorer(convolving, "rain=1")


@pytest.mark.parametrize(("weights", "words"), [("fog=1", "unknown adapter 'fog'"), ("rain", "NAME=NUMBER")])
def test_wrong_weights_are_refused(weights: str, words: str, bundle: Bundle) -> None:
    with pytest.raises(InputError, match=words):
        exported_restorer(bundle, weights)


def test_the_smallest_side_can_be_reflected(make_backbone: Callable[..., Any]) -> None:
    for unshuffle, least in ((1, 9), (2, 17)):
        restorer = ExportedRestorer(make_backbone(unshuffle=unshuffle))
        assert (restorer.multiple_px, restorer.minimum_px) == (least - 1, least)
        assert restorer(torch.rand(1, 3, least, least)).shape == (1, 3, least, least)
