"""Sizes of the network by name."""

import math
from dataclasses import dataclass, fields
from typing import get_args

from abair_pl.errors import InputError, unknown_name

Levels = tuple[int, int, int, int]
Prompts = tuple[int, int, int]


@dataclass(frozen=True)
class BackboneConfig:
    """The architecture of a backbone; a bundle's ``config.json`` holds these values.

    Attributes:
        dim: Channels at full resolution; each level below has twice as many.
        blocks: Blocks of the four levels; encoder and decoder have the same.
        refinement_blocks: Blocks after the decoder, at full resolution.
        heads: Attention heads of the four levels.
        expansion: Width of the feed-forward branches.
        window_px: Side of the spatial window attention; 0 leaves it out. Prompt blocks have none.
        centred_norm: Norms subtract the mean and have a bias; Restormer's checkpoints for denoising do neither.
        unshuffle: The network works on the image after pixel-unshuffling by this factor.
        gain: The output is ``degraded * exp(gain) + residual`` instead of ``degraded + residual``, with a gain for each
            pixel.
        tone_dim: Channels of the tone head, which handles tone (haze, low light) apart from texture, as small networks
            need it; 0 leaves it out.
        prompt_dims: Channels of the prompts of decoder levels 1 to 3.
        prompt_sizes_px: Side of their learned maps.
        prompts: How many maps each level mixes; 0 leaves the prompts out.
        head_dim: Channels of the segmentation head; 0 leaves it out.
        head_blocks: Residual blocks of the segmentation head on each level of the encoder.
        estimator_dim: Channels of the estimator's first stage.

    Raises:
        InputError: A size is of another type or not positive, ``dim`` is odd, or heads do not divide the channels.
    """

    dim: int
    blocks: Levels
    refinement_blocks: int
    heads: Levels = (1, 2, 4, 8)
    expansion: float = 2.66
    window_px: int = 0
    centred_norm: bool = True
    unshuffle: int = 1
    gain: bool = False
    tone_dim: int = 0
    prompt_dims: Prompts = (64, 128, 320)
    prompt_sizes_px: Prompts = (64, 32, 16)
    prompts: int = 5
    head_dim: int = 32
    head_blocks: int = 0
    estimator_dim: int = 24

    def __post_init__(self) -> None:
        self._check_types()
        sizes = [self.dim, self.unshuffle, self.estimator_dim, *self.blocks, *self.heads]
        sizes += [int(self.dim * self.expansion), *self.prompt_dims, *self.prompt_sizes_px]
        optional = (
            self.window_px,
            self.refinement_blocks,
            self.prompts,
            self.head_dim,
            self.head_blocks,
            self.tone_dim,
        )
        if min(sizes) < 1 or min(optional) < 0:
            message = (
                f"{self} has a size below 1; expected positive sizes "
                "(window_px, refinement_blocks, prompts, head_dim, head_blocks and tone_dim may be 0)"
            )
            raise InputError(message)
        if self.dim % 2:
            message = f"dim is {self.dim}; expected an even number, since downsampling halves it"
            raise InputError(message)
        prompted = [above + prompt for above, prompt in zip(self.dims[1:], self.prompt_dims, strict=True)]
        places: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [("level", self.dims, self.heads)]
        if self.prompts:
            places.append(("prompt block", tuple(prompted), (self.heads[2],) * 3))
        for place, widths, heads in places:
            for index, (channels, count) in enumerate(zip(widths, heads, strict=True), start=1):
                if channels % count:
                    message = f"{place} {index} has {channels} channels and {count} heads; heads must divide them"
                    raise InputError(message)

    def _check_types(self) -> None:
        """A value from JSON may be of any type; ``True`` and ``1.0`` are no sizes."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float:
                right, expected = type(value) in (int, float) and math.isfinite(value), "a finite number"
            elif isinstance(field.type, type) and field.type in (int, bool):
                right, expected = type(value) is field.type, "a whole number" if field.type is int else "true or false"
            else:
                count = len(get_args(field.type))
                right = isinstance(value, tuple) and len(value) == count and all(type(size) is int for size in value)
                expected = f"{count} whole numbers"
            if not right:
                message = f"{field.name} is {value!r}; expected {expected}: set it as the presets do"
                raise InputError(message)

    @property
    def dims(self) -> Levels:
        """Channels of the four levels."""
        return self.dim, self.dim * 2, self.dim * 4, self.dim * 8

    @property
    def multiple_px(self) -> int:
        """Images are padded to a multiple of this."""
        return 8 * self.unshuffle


PRESETS: dict[str, BackboneConfig] = {
    "tiny": BackboneConfig(
        dim=24,
        blocks=(1, 1, 1, 1),
        refinement_blocks=1,
        expansion=2.0,
        unshuffle=2,
        gain=True,
        tone_dim=64,
        prompt_dims=(16, 16, 32),
        prompt_sizes_px=(16, 8, 4),
        head_dim=32,
        estimator_dim=16,
    ),
    "small": BackboneConfig(
        dim=32,
        blocks=(1, 2, 2, 2),
        refinement_blocks=2,
        expansion=2.0,
        window_px=8,
        unshuffle=2,
        gain=True,
        tone_dim=64,
        prompt_dims=(32, 32, 64),
        prompt_sizes_px=(32, 16, 8),
        head_dim=64,
        estimator_dim=40,
    ),
    # 59 M with five adapters of rank 4 and the estimator, as the paper has it.
    "paper": BackboneConfig(
        dim=48,
        blocks=(4, 6, 6, 8),
        refinement_blocks=4,
        window_px=8,
        head_dim=256,
        head_blocks=2,
        estimator_dim=104,
    ),
    # Others' networks, whose published weights can be imported; they have no segmentation head.
    "restormer": BackboneConfig(
        dim=48, blocks=(4, 6, 6, 8), refinement_blocks=4, prompts=0, head_dim=0, estimator_dim=104
    ),
    "promptir": BackboneConfig(dim=48, blocks=(4, 6, 6, 8), refinement_blocks=4, head_dim=0, estimator_dim=104),
}


def preset_config(name: str) -> BackboneConfig:
    """The configuration of a preset.

    Raises:
        InputError: No preset has this name.
    """
    if name not in PRESETS:
        raise unknown_name(name, "preset", PRESETS)
    return PRESETS[name]
