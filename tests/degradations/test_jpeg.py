import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from abair_pl.degradations import RandomJpeg
from abair_pl.metrics import psnr

COLOR = ["astronaut", "chelsea", "coffee", "rocket"]


def _ours(photograph: Tensor, quality: int) -> Tensor:
    operator = RandomJpeg(quality=(quality, quality))
    return operator.apply(photograph[None], operator.draw(np.arange(1)))


def _libjpeg(photograph: Tensor, quality: int) -> Tensor:
    pixels: NDArray[np.uint8] = (photograph * 255.0).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    decoded = np.array(Image.open(io.BytesIO(file.getvalue())))
    return torch.from_numpy(decoded).permute(2, 0, 1)[None] / 255.0


@pytest.mark.parametrize("quality", [10, 20, 40, 70, 90])
@pytest.mark.parametrize("name", COLOR)
def test_it_agrees_with_libjpeg_at_the_same_quality(scenes: dict[str, Tensor], name: str, quality: int) -> None:
    clean = scenes[name][:, 20:276, 100:356]
    ours, libjpeg = _ours(clean, quality), _libjpeg(clean, quality)
    difference = psnr(ours, clean[None]) - psnr(libjpeg, clean[None])
    assert abs(float(difference)) < 0.1  # half a dB would do
    assert float(psnr(ours, libjpeg)) > 43.0


@pytest.mark.parametrize("size", [(75, 50), (17, 31), (8, 8), (1, 1)], ids=str)
def test_sizes_that_do_not_divide_by_sixteen_agree_too(scenes: dict[str, Tensor], size: tuple[int, int]) -> None:
    clean = scenes["coffee"][:, 50 : 50 + size[0], 200 : 200 + size[1]]
    assert float(psnr(_ours(clean, 30), _libjpeg(clean, 30))) > 36.0


def test_lower_quality_is_worse(scenes: dict[str, Tensor]) -> None:
    clean = scenes["chelsea"][:, :128, :128]
    found = [float(psnr(_ours(clean, quality), clean[None])) for quality in (5, 20, 50, 80, 100)]
    assert found == sorted(found)
    assert found[-1] - found[0] > 10.0


def test_whole_qualities_are_drawn_and_severity_lowers_them() -> None:
    operator = RandomJpeg()
    drawn = operator.draw(np.arange(400))
    assert torch.equal(drawn["quality"], drawn["quality"].round())
    assert torch.allclose(drawn["quality"], 70.0 - 60.0 * drawn["severity"], atol=0.51)


def test_levels_are_those_of_8_bits(photo: Tensor) -> None:
    levels = RandomJpeg()(photo) * 255.0
    assert torch.allclose(levels, levels.round(), atol=1e-4)
