"""The classical methods by name."""

from abair_pl.errors import unknown_name
from abair_pl.evaluation.classical.base import Classical
from abair_pl.evaluation.classical.block_matching import BM3D
from abair_pl.evaluation.classical.brightening import CLAHE, GAMMA
from abair_pl.evaluation.classical.dark_channel import DARK_CHANNEL
from abair_pl.evaluation.classical.deconvolution import RICHARDSON_LUCY
from abair_pl.evaluation.classical.dequantization import DEQUANTIZATION
from abair_pl.evaluation.classical.non_local_means import NON_LOCAL_MEANS
from abair_pl.evaluation.classical.smoothing import DEBLOCKING, MEDIAN

CLASSICAL: dict[str, Classical] = {
    "bm3d": BM3D,
    "non_local_means": NON_LOCAL_MEANS,
    "dark_channel": DARK_CHANNEL,
    "clahe": CLAHE,
    "gamma": GAMMA,
    "richardson_lucy": RICHARDSON_LUCY,
    "deblocking": DEBLOCKING,
    "median": MEDIAN,
    "dequantization": DEQUANTIZATION,
}
"""What ``classical`` of a suite's method may be."""


def classical_method(name: str) -> Classical:
    """The method of a name.

    Raises:
        InputError: There is none.
    """
    if name not in CLASSICAL:
        raise unknown_name(name, "classical method", CLASSICAL)
    return CLASSICAL[name]
