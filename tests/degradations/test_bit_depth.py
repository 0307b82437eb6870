import numpy as np
import pytest
import torch
from torch import Tensor

from abair_pl.degradations import RandomBitDepth

GREYS = (torch.arange(256) / 255.0).view(1, 1, 16, 16).expand(1, 3, -1, -1)


def _levels(operator: RandomBitDepth) -> Tensor:
    """The 8-bit result of each 8-bit grey, ``(256,)``."""
    degraded = operator.apply(GREYS, operator.draw(np.arange(1)))
    return degraded[0, 0].flatten() * 255.0


@pytest.mark.parametrize("bits", range(1, 9))
def test_only_the_highest_bits_are_left(bits: int) -> None:
    levels = _levels(RandomBitDepth(bits=(bits, bits)))
    mask = 0xFF << (8 - bits) & 0xFF
    expected = torch.tensor([value & mask for value in range(256)]).float()
    assert torch.allclose(levels, expected, atol=1e-4)


def test_four_bits_are_the_papers_formula() -> None:
    """Table 4: floor(v / 16) * 16, of every 8-bit value, darker by 7.5 levels on average."""
    levels = _levels(RandomBitDepth(bits=(4, 4)))
    assert levels.round().tolist() == [16 * (value // 16) for value in range(256)]
    assert float((torch.arange(256) - levels).mean()) == pytest.approx(7.5)
    assert len(levels.round().unique()) == 16


def test_values_between_8_bit_levels_are_rounded_to_them_first() -> None:
    operator = RandomBitDepth(bits=(4, 4))
    image = torch.tensor([15.4, 15.6]).view(1, 1, 1, 2).expand(1, 3, -1, -1) / 255.0
    assert (operator.apply(image, operator.draw(np.arange(1)))[0, 0, 0] * 255.0).tolist() == pytest.approx([0.0, 16.0])


def test_whole_bits_are_drawn_over_the_range() -> None:
    operator = RandomBitDepth()
    drawn = operator.draw(np.arange(500))["bits"]
    assert drawn.unique().tolist() == [3.0, 4.0, 5.0, 6.0]
    assert operator.draw(np.arange(3), (0.0, 0.0))["bits"].tolist() == [6.0] * 3
    assert operator.draw(np.arange(3), (1.0, 1.0))["bits"].tolist() == [3.0] * 3
