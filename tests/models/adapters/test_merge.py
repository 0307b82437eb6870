import pytest
import torch

from abair_pl.bundle import Bundle
from abair_pl.errors import InputError
from abair_pl.models.adapters import merge_adapters
from abair_pl.models.weights import fixed_weights


def test_a_merged_mixture_restores_as_the_blend(mixed: Bundle) -> None:
    merged, blended, image = mixed.backbone().eval(), mixed.blended().eval(), torch.rand(1, 3, 24, 20)
    mixture = {"haze": 0.5, "rain": -0.75}
    merge_adapters(merged, mixed.adapters(), mixture)
    with torch.no_grad():
        expected = blended(image, fixed_weights(mixture, blended.names, 1))
        torch.testing.assert_close(merged(image), expected, atol=1e-5, rtol=1e-5)
        assert (expected - blended(image, None)).abs().max() > 1e-3


def test_a_conv_lora_is_not_merged(mixed: Bundle) -> None:
    with pytest.raises(InputError, match=r"adapter noise is a Conv-LoRA.* cannot be merged"):
        merge_adapters(mixed.backbone(), mixed.adapters(["noise"]), {"noise": 1.0})
