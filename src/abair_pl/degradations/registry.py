"""The built-in degradations by name."""

from abair_pl.degradations.base import Degradation
from abair_pl.degradations.bit_depth import RandomBitDepth
from abair_pl.degradations.blur import RandomCameraShake, RandomDefocus, RandomGaussianBlur, RandomMotionBlur
from abair_pl.degradations.haze import RandomHaze
from abair_pl.degradations.jpeg import RandomJpeg
from abair_pl.degradations.low_light import RandomLowLight
from abair_pl.degradations.noise import (
    RandomChannelNoise,
    RandomCorrelatedNoise,
    RandomGaussianNoise,
    RandomPoissonGaussianNoise,
)
from abair_pl.degradations.rain import RandomRainStreaks
from abair_pl.degradations.snow import RandomSnow

BUILT_IN: dict[str, dict[type[Degradation], float]] = {
    "rain": {RandomRainStreaks: 1.0},
    "haze": {RandomHaze: 1.0},
    "noise": {
        RandomGaussianNoise: 0.55,
        RandomPoissonGaussianNoise: 0.2,
        RandomCorrelatedNoise: 0.15,
        RandomChannelNoise: 0.1,
    },
    "blur": {RandomCameraShake: 0.4, RandomMotionBlur: 0.15, RandomDefocus: 0.25, RandomGaussianBlur: 0.2},
    "low_light": {RandomLowLight: 1.0},
    "snow": {RandomSnow: 1.0},
    "jpeg": {RandomJpeg: 1.0},
    "bit_depth": {RandomBitDepth: 1.0},
}
"""The kinds of each degradation, the plain one first, and how often each is drawn."""

PAPER_FIVE = ("rain", "haze", "noise", "blur", "low_light")
"""The paper's degradations in the order of its tables; snow, jpeg and bit_depth are its unseen ones (Table 4)."""
