"""JPEG compression."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, limited, within
from abair_pl.degradations.jpeg_codec import jpeg_round_trip


class RandomJpeg(Degradation):
    """Baseline JPEG with 4:2:0 chroma, an exact codec with hard rounding.

    Kornia's differentiable codec softens the rounding and so comes out 0.7 dB above libjpeg at the same quality;
    degradations need no gradient, and this one has none.

    Args:
        severity: Range of the severity in [0, 1].
        quality: libjpeg's quality at severity 0 and 1, 1 to 100; whole numbers are drawn.
    """

    name: ClassVar[str] = "jpeg"
    one_by_one: ClassVar[bool] = False
    stage: ClassVar[Stage] = "codec"

    def __init__(self, severity: Range = (0.0, 1.0), quality: Range = (70.0, 10.0)) -> None:
        super().__init__(severity)
        self.quality = limited("quality", quality, 1, 100)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {"quality": np.round(within(self.quality, severity))}

    @torch.no_grad()
    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        return jpeg_round_trip(image, parameters["quality"])
