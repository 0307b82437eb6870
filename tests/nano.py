"""A network of toy size."""

from abair_pl.models.presets import BackboneConfig

NANO = BackboneConfig(
    dim=8,
    blocks=(1, 1, 1, 1),
    refinement_blocks=1,
    heads=(1, 1, 2, 2),
    expansion=1.5,
    unshuffle=2,
    gain=True,
    tone_dim=8,
    prompt_dims=(4, 4, 4),
    prompt_sizes_px=(4, 4, 4),
    prompts=2,
    head_dim=8,
    estimator_dim=4,
)
