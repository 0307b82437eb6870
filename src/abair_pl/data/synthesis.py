"""From batches of photographs to batches to train and validate on, on the device."""

import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from abair_pl.batch import PhotoBatch, RestorationBatch
from abair_pl.data.manifest import NAMED_PAIRS
from abair_pl.degradations import (
    BUILT_IN,
    Degradation,
    Plan,
    Range,
    Synthesizer,
    parse_degradation,
    resolve_composites,
    resolve_degradations,
)
from abair_pl.degradations.base import limited, within
from abair_pl.degradations.jpeg_codec import jpeg_round_trip
from abair_pl.degradations.random import combine, unit_draws
from abair_pl.degradations.transfer import moved
from abair_pl.errors import InputError, unknown_name

_FIRST_REACH = 0.3  # of the range of severities, where a curriculum begins


@dataclass(frozen=True)
class SynthesisConfig:
    """How training photographs are degraded; which degradations there are is the module's to say.

    Attributes:
        operators: Degradations to use in place of, or beside, the built-in ones, matched by their name: in the grammar,
            such as noise:sigma=25, or objects of any subclass of Degradation by class_path.
        composites: Degradations one after the other, such as blur+noise, of those of the module.
        composite_probability: Share of the degraded photographs, or regions, that get a composite.
        cutmix_probability: Share of the photographs with several degradations in regions.
        cutmix_regions: Fewest and most regions, within 2 to 4.
        smooth_probability: Share of regions that are smooth masks instead of rectangles.
        clean_probability: Share of the other photographs that stay clean.
        frequencies: How often a degradation is drawn, relative to the others, such as noise: 2 for twice as often;
            those not named have 1.
        severity: Part of each operator's range of severities that is drawn from.
        severity_steps: Optimizer steps over which its upper end rises to where it is, from three tenths of the way.
        file_probability: Share of the images, clean ones among them, that are stored as JPEG after all else and keep
            their labels: nearly all photographs of rain or haze come as such files, and that is no second damage.
        file_quality: Range of libjpeg's quality of these files, 1 to 100.
    """

    operators: list[str | Degradation] = field(default_factory=list)
    composites: list[str] = field(default_factory=list)
    composite_probability: float = 0.0
    cutmix_probability: float = 0.0
    cutmix_regions: tuple[int, int] = (2, 4)
    smooth_probability: float = 0.5
    clean_probability: float = 0.0
    frequencies: dict[str, float] = field(default_factory=dict)
    severity: Range = (0.0, 1.0)
    severity_steps: int = 0
    file_probability: float = 0.0
    file_quality: Range = (75.0, 95.0)

    def __post_init__(self) -> None:
        if not 0.0 <= self.file_probability <= 1.0:
            message = f"file_probability is {self.file_probability}; expected a share within [0, 1]"
            raise InputError(message)
        limited("file_quality", self.file_quality, 1, 100)
        if not 0.0 <= self.severity[0] <= self.severity[1] <= 1.0 or self.severity_steps < 0:
            message = (
                f"severity is {self.severity} with severity_steps {self.severity_steps}; "
                "expected 0 <= low <= high <= 1 and no negative number of steps"
            )
            raise InputError(message)

    def dial(self, step: int) -> Range:
        """The part of the range of severities that is drawn from at a training step."""
        low, high = self.severity
        progress = min(step / self.severity_steps, 1.0) if self.severity_steps else 1.0
        return low, low + (high - low) * (_FIRST_REACH + (1.0 - _FIRST_REACH) * progress)


class Synthesis:
    """Degrades photographs, and passes on the degraded images of real pairs.

    Operators that are not among the degradations are left out, and so are composites with such a member.

    Args:
        config: How.
        degradations: Names in the order of the labels.
        in_pairs: Those that pairs show, and that are made only if there is an operator for them.

    Attributes:
        left_out: The names of operators and composites that are left out.

    Raises:
        InputError: A name is neither built in, nor among the operators or in pairs; or a number is out of bounds.
    """

    def __init__(self, config: SynthesisConfig, degradations: list[str], in_pairs: Collection[str] = ()) -> None:
        self.config = config
        self.degradations = degradations
        self.in_pairs = in_pairs
        self.left_out: list[str] = []
        self._synthesizer: Synthesizer | None = None

    @property
    def synthesizer(self) -> Synthesizer:
        """Makes the degradations, from when they are first needed: real pairs need none, and may have any name."""
        if self._synthesizer is None:
            own = [parse_degradation(entry) if isinstance(entry, str) else entry for entry in self.config.operators]
            without = set(self.in_pairs) - {each.name for each in own} - BUILT_IN.keys()
            names = [name for name in self.degradations if name not in without] or self.degradations
            known = set(names)
            made = resolve_degradations(names, own)
            composites = resolve_composites(self.config.composites, made)
            usable = [each for each in composites if {operator.name for operator in each.operators} <= known]
            self.left_out = [each.name for each in own if each.name not in known]
            self.left_out += [each.name for each in composites if each not in usable]
            self._synthesizer = Synthesizer(
                made,
                usable,
                composite_probability=self.config.composite_probability if usable or not composites else 0.0,
                cutmix_probability=self.config.cutmix_probability,
                cutmix_regions=self.config.cutmix_regions,
                smooth_probability=self.config.smooth_probability,
                clean_probability=self.config.clean_probability,
                frequencies=self.config.frequencies,
            )
        return self._synthesizer

    def training(self, batch: PhotoBatch, step: int) -> RestorationBatch:
        """Degrade each photograph once, by its own seed; pairs are passed on, behind the photographs.

        Args:
            batch: Photographs, pairs, or both.
            step: Optimizer steps so far, for the curriculum.
        """
        return self._with_pairs(batch, lambda photographs: [self._degraded_once(photographs, step)])

    def evaluation(self, batch: PhotoBatch) -> RestorationBatch:
        """Degrade each photograph once with every degradation, over the whole image; pairs are passed on."""
        return self._with_pairs(batch, self._degraded_in_every_way)

    def untouched(self, batch: PhotoBatch) -> RestorationBatch:
        """The photographs as they are, or the degraded images of pairs, for prediction."""
        clean = _unit(batch.clean)
        degraded = clean if batch.degraded is None else _unit(batch.degraded)
        return self._labelled(batch, clean, degraded, [0] * len(clean))

    def _with_pairs(
        self, batch: PhotoBatch, degrade: Callable[[PhotoBatch], list[RestorationBatch]]
    ) -> RestorationBatch:
        """The photographs of a batch degraded, and its pairs as they are."""
        photographs, pairs = batch.part(pairs=False), batch.part(pairs=True)
        parts = [] if photographs is None else degrade(photographs)
        if pairs is not None and pairs.degraded is not None:
            parts.append(self._pairs(pairs, pairs.degraded))
        return RestorationBatch.joined(parts)

    def _degraded_once(self, batch: PhotoBatch, step: int) -> RestorationBatch:
        made = self._synthesized(batch, self.synthesizer.plan(batch.seeds, dial=self.config.dial(step)))
        return replace(made, degraded=self._stored(made.degraded, batch.seeds))

    def _degraded_in_every_way(self, batch: PhotoBatch) -> list[RestorationBatch]:
        made = []
        for name in self.synthesizer.names:
            seeds = torch.tensor([combine(seed, zlib.crc32(name.encode())) for seed in batch.seeds.tolist()])
            made.append(self._synthesized(batch, self.synthesizer.plan(seeds, name)))
        return made

    def _synthesized(self, batch: PhotoBatch, plan: Plan) -> RestorationBatch:
        """Carry a plan out; its labels come into the order of all degradations, those that only pairs show included."""
        clean = _unit(batch.clean)
        made, names = self.synthesizer(clean, plan, batch.depth), self.synthesizer.names
        labels, shares = made.labels, made.shares
        if names != self.degradations:
            at = torch.tensor([0, *(1 + self.degradations.index(name) for name in names)], device=labels.device)
            labels = at[labels]
            shares = shares.new_zeros(len(shares), len(self.degradations) + 1).index_copy(1, at, shares)
        return RestorationBatch(clean, made.degraded, labels, shares, batch.keys, batch.valid)

    def _stored(self, images: Tensor, seeds: Tensor) -> Tensor:
        """The images, some of which have been JPEG files in between."""
        draws = unit_draws(seeds.numpy(), ["file", "file/quality"])
        rows = np.flatnonzero(draws[:, 0] < self.config.file_probability)
        if not len(rows):
            return images
        quality = np.round(within(self.config.file_quality, draws[rows, 1])).astype(np.float32)
        at = moved({"rows": torch.from_numpy(rows), "quality": torch.from_numpy(quality)}, images.device)
        stored = jpeg_round_trip(images.index_select(0, at["rows"]), at["quality"])
        return images.index_copy(0, at["rows"], stored)

    def _pairs(self, batch: PhotoBatch, degraded: Tensor) -> RestorationBatch:
        labels = [self._label_of(damage) for damage in batch.damages]
        return self._labelled(batch, _unit(batch.clean), _unit(degraded), labels)

    def _label_of(self, damage: str | None) -> int:
        if len(self.degradations) == 1:  # which pairs show whatever their shards say
            return 1
        if not damage:
            message = (
                "shards of pairs do not say what they show; expected a phase that trains on a single degradation, or "
                f"{NAMED_PAIRS}"
            )
            raise InputError(message)
        if damage not in self.degradations:
            raise unknown_name(damage, "degradation of pairs", self.degradations)
        return 1 + self.degradations.index(damage)

    def _labelled(self, batch: PhotoBatch, clean: Tensor, degraded: Tensor, labels: list[int]) -> RestorationBatch:
        at = torch.tensor(labels, device=clean.device)
        planes = at.view(-1, 1, 1).expand(-1, *clean.shape[2:])
        shares = F.one_hot(at, len(self.degradations) + 1).float()
        return RestorationBatch(clean, degraded, planes, shares, batch.keys, batch.valid)


def _unit(images: Tensor) -> Tensor:
    return images.float() / 255.0
