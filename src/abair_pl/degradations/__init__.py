"""Degradations as Kornia augmentations with per-sample parameters, and the synthesizer that mixes them."""

from abair_pl.degradations.base import Degradation, Draws, Parameters, Range, Stage, Step
from abair_pl.degradations.bit_depth import RandomBitDepth
from abair_pl.degradations.blur import RandomCameraShake, RandomDefocus, RandomGaussianBlur, RandomMotionBlur
from abair_pl.degradations.combinations import AnyDegradation, Composite, OneOf
from abair_pl.degradations.grammar import parse_degradation, resolve_composites, resolve_degradations
from abair_pl.degradations.haze import RandomHaze
from abair_pl.degradations.jpeg import RandomJpeg
from abair_pl.degradations.low_light import RandomLowLight
from abair_pl.degradations.noise import (
    RandomChannelNoise,
    RandomCorrelatedNoise,
    RandomGaussianNoise,
    RandomPoissonGaussianNoise,
)
from abair_pl.degradations.plan import Plan
from abair_pl.degradations.rain import RandomRainStreaks
from abair_pl.degradations.registry import BUILT_IN, PAPER_FIVE
from abair_pl.degradations.snow import RandomSnow
from abair_pl.degradations.synthesizer import Synthesis, Synthesizer

__all__ = [
    "BUILT_IN",
    "PAPER_FIVE",
    "AnyDegradation",
    "Composite",
    "Degradation",
    "Draws",
    "OneOf",
    "Parameters",
    "Plan",
    "RandomBitDepth",
    "RandomCameraShake",
    "RandomChannelNoise",
    "RandomCorrelatedNoise",
    "RandomDefocus",
    "RandomGaussianBlur",
    "RandomGaussianNoise",
    "RandomHaze",
    "RandomJpeg",
    "RandomLowLight",
    "RandomMotionBlur",
    "RandomPoissonGaussianNoise",
    "RandomRainStreaks",
    "RandomSnow",
    "Range",
    "Stage",
    "Step",
    "Synthesis",
    "Synthesizer",
    "parse_degradation",
    "resolve_composites",
    "resolve_degradations",
]
