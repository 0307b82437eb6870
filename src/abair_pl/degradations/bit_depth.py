"""Too few bits for a pixel."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, limited, per_image, within


class RandomBitDepth(Degradation):
    """Only the highest bits of an 8-bit image are left; the others are 0 (the paper's 4-to-8-bit task, Table 4).

    ``degraded = floor(v / s) * s / 255`` with ``v`` the 8-bit value and ``s = 2 ** (8 - bits)``. Dropping the bits, as
    bit-depth expansion is set, also darkens by ``(s - 1) / 510`` on average.

    Args:
        severity: Range of the severity in [0, 1].
        bits: Bits that are left at severity 0 and 1, 1 to 8; whole bits are drawn.
    """

    name: ClassVar[str] = "bit_depth"
    one_by_one: ClassVar[bool] = False
    stage: ClassVar[Stage] = "codec"

    def __init__(self, severity: Range = (0.0, 1.0), bits: Range = (6.0, 3.0)) -> None:
        super().__init__(severity)
        self.bits = limited("bits", bits, 1, 8)

    def physical(self, severity: NDArray[np.float32], draws: Draws) -> dict[str, NDArray[np.float32]]:
        return {"bits": np.round(within(self.bits, severity))}

    def degrade(self, image: Tensor, parameters: Parameters) -> Tensor:
        step = per_image((8.0 - parameters["bits"]).exp2())
        return (image * 255.0).round().div(step).floor().mul(step / 255.0)
