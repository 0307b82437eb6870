"""Degradations as Kornia augmentations with per-sample parameters, and the synthesizer that mixes them."""

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range
from abair_pl.degradations.blur import RandomBlur
from abair_pl.degradations.haze import RandomHaze
from abair_pl.degradations.low_light import RandomLowLight
from abair_pl.degradations.noise import RandomNoise
from abair_pl.degradations.rain import RandomRainStreaks
from abair_pl.degradations.registry import BUILT_IN, parse_degradation, resolve_degradations
from abair_pl.degradations.synthesizer import Plan, Synthesis, Synthesizer

__all__ = [
    "BUILT_IN",
    "Degradation",
    "Draws",
    "Parameters",
    "Plan",
    "RandomBlur",
    "RandomHaze",
    "RandomLowLight",
    "RandomNoise",
    "RandomRainStreaks",
    "Range",
    "Synthesis",
    "Synthesizer",
    "parse_degradation",
    "resolve_degradations",
]
