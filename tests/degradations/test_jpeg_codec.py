import io

import numpy as np
import pytest
import torch
from PIL import Image

from abair_pl.degradations.jpeg_codec import _CHROMA, _LUMA, _cosines, _table, jpeg_round_trip


@pytest.mark.parametrize("quality", [1, 10, 35, 49, 50, 51, 75, 90, 100])
def test_tables_are_those_that_libjpeg_writes(quality: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    written = Image.open(io.BytesIO(file.getvalue())).quantization  # type: ignore[attr-defined]
    value = torch.tensor([float(quality)])
    scale = torch.where(value < 50, (5000.0 / value).floor(), 200.0 - 2.0 * value)
    for text, expected in ((_LUMA, written[0]), (_CHROMA, written[1])):
        assert _table(text, scale).flatten().tolist() == list(expected)


def test_cosines_are_orthonormal() -> None:
    cosines = _cosines(torch.device("cpu")).double()
    assert torch.allclose(cosines @ cosines.T, torch.eye(8).double(), atol=1e-6)
    assert torch.allclose(cosines[0], torch.full((8,), 8**-0.5).double())


@pytest.mark.parametrize("level", [0, 77, 128, 255])
def test_flat_grey_survives_every_quality(level: int) -> None:
    """Its blocks have a mean alone, which is quantized by the first entry of the table."""
    grey = torch.full((3, 3, 24, 24), level / 255.0)
    restored = jpeg_round_trip(grey, torch.tensor([10.0, 50.0, 100.0]))
    steps = torch.tensor([80.0, 16.0, 1.0])
    worst = (restored - grey).abs().amax((1, 2, 3)) * 255.0
    assert (worst <= steps / 16.0 + 1.0).all()


def test_each_sample_has_its_own_quality() -> None:
    image = torch.rand(1, 3, 32, 32)
    qualities = torch.tensor([5.0, 50.0, 95.0])
    together = jpeg_round_trip(image.expand(3, -1, -1, -1), qualities)
    alone = torch.cat([jpeg_round_trip(image, quality[None]) for quality in qualities])
    assert torch.equal(together, alone)
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("quality", [10, 30, 70])
def test_saturated_colours_are_clamped_as_libjpeg_does(quality: int) -> None:
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[:, 0, :, ::5] = 1.0
    stripes[:, 1, ::7] = 1.0
    file = io.BytesIO()
    pixels = (stripes[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    written = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1) / 255.0
    error = (jpeg_round_trip(stripes, torch.tensor([float(quality)]))[0] - written).square().mean()
    assert -10.0 * error.log10() > 33.0
