"""Tone apart from texture."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from abair_pl.models.tone import CELL_STATISTICS, ToneHead, cell_statistics


def head(seed: int = 0) -> ToneHead:
    torch.manual_seed(seed)
    made = ToneHead(dim=16, cell_px=8)
    nn.init.normal_(made.predict.weight, std=0.02)
    return made


def test_the_untrained_head_is_the_identity() -> None:
    image = torch.rand(2, 3, 16, 24)
    torch.testing.assert_close(ToneHead(16, 8)(image), image)


def test_statistics_of_a_cell() -> None:
    image = torch.full((1, 3, 8, 16), 0.25)
    image[0, 1, 3, 2] = 1.0
    image[0, 1, 4, 2] = 0.0
    cells = cell_statistics(image, 8)
    assert cells.shape == (1, CELL_STATISTICS, 1, 2)
    mean, logarithm, least, largest = cells[0, :, 0, 0].view(4, 3)
    green = (62 * 0.25 + 1.0) / 64
    torch.testing.assert_close(mean, torch.tensor([0.25, green, 0.25]))
    torch.testing.assert_close(logarithm, (mean + 0.01).log() / 2)
    assert least.tolist() == [0.25, 0.0, 0.25]
    assert largest.tolist() == [0.25, 1.0, 0.25]
    assert cells[0, 3 + 3 + 1, 0, 1] == 0.25, "the other cell has its own"


def test_a_shift_moves_the_mean_of_dark_and_bright_images_by_as_much() -> None:
    made = ToneHead(16, 8)
    bias = torch.tensor([0.01] * 3 + [0.0] * 3)  # of shift and offset; times the sensitivity, through tanh
    made.predict.bias = nn.Parameter(bias)
    for brightness in (0.1, 0.6):
        image = brightness * (0.5 + torch.rand(1, 3, 32, 32))
        change = (made(image) - image).mean() / image.mean() * (image.mean() + 0.02)
        torch.testing.assert_close(change, torch.tensor(0.03).tanh(), atol=1e-4, rtol=0)


def test_it_learns_to_brighten_by_what_it_sees() -> None:
    """Dark images need it and bright ones do not; one bias for all could not do both."""
    torch.manual_seed(0)
    made = ToneHead(16, 8)
    optimizer = torch.optim.Adam(made.parameters(), 3e-3)
    scene = torch.rand(8, 3, 16, 16)
    degraded = torch.cat((scene[:4] * 0.15, scene[4:]))
    before = (degraded - scene).abs().mean()
    for _ in range(150):
        loss = (made(degraded) - scene).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.25 * before


def test_it_computes_in_float32_whatever_the_autocast() -> None:
    made, image = head(), torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made(image.bfloat16().float()), made(image.bfloat16()))
        assert made(image).dtype == torch.float32
    assert not torch.equal(made(image), image)


@pytest.mark.parametrize("cell_px", [8, 16, 24, 56, 64])
def test_cells_are_enlarged_by_a_factor_to_the_last_bit(cell_px: int) -> None:
    tone = torch.randn(1, 6, 3, 7)
    expected = F.interpolate(tone, scale_factor=float(cell_px), mode="bilinear")
    assert torch.equal(ToneHead(16, cell_px).between_cells(tone), expected)
