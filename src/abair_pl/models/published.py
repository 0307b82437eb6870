"""Others' published networks, Restormer and PromptIR: their checkpoints' names, and what fits our backbone."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config

Published = Literal["restormer", "promptir"]
"""Networks whose checkpoints can be read; presets have the same names."""

_EXAMPLES = 3


def _places(level: int) -> dict[str, str]:
    here, below = level + 1, level + 2
    return {
        f"encoder.{level}": f"encoder_level{here}",
        f"down.{level}": f"down{here}_{below}.body",
        f"prompt.{level}.generate.components": f"prompt{here}.prompt_param",
        f"prompt.{level}.generate.weights": f"prompt{here}.linear_layer",
        f"prompt.{level}.generate.conv": f"prompt{here}.conv3x3",
        f"prompt.{level}.interact": f"noise_level{here}",
        f"prompt.{level}.reduce": f"reduce_noise_level{here}",
        f"up.{level}": f"up{below}_{here}.body",
        f"fuse.{level}": f"reduce_chan_level{here}",
        f"decoder.{level}": f"decoder_level{here}",
    }


_PLACES = {"patch_embed": "patch_embed.proj", "encoder.3": "latent", **_places(0), **_places(1), **_places(2)}
"""Our modules, and their names in the checkpoints; others are called the same."""

_NEVER_CALLED = re.compile(r"(chnl_reduce|reduce_noise_channel_)[123]\.")
"""Layers in PromptIR's checkpoints that its network does not use."""


def published_backbone(network: Published, state: Mapping[str, Tensor]) -> Backbone:
    """A backbone with the weights of a published network: its output is the same but for rounding.

    Restormer's checkpoints for denoising have norms without biases (``BiasFree``); they are told by that.

    Args:
        network: Which network (Zamir et al., CVPR 2022; Potlapalli et al., NeurIPS 2023).
        state: The checkpoint's tensors by their published names.

    Returns:
        Without a segmentation head.

    Raises:
        InputError: Tensors are missing, surplus, of other shapes or not finite.
    """
    centred = any(name.endswith(".norm1.body.bias") for name in state)
    backbone = Backbone(replace(preset_config(network), centred_norm=centred), labels=1)
    ours = backbone.state_dict()
    names = {name: _published_name(name) for name in ours}
    used = {name: value for name, value in state.items() if not _NEVER_CALLED.match(name)}
    expected = {names[name]: _published_shape(names[name], value) for name, value in ours.items()}
    _check_same(network, {name: tuple(value.shape) for name, value in used.items()}, expected)
    _check_finite(used)
    backbone.load_state_dict({name: used[names[name]].reshape(value.shape) for name, value in ours.items()})
    return backbone


def _published_name(name: str) -> str:
    for ours, theirs in _PLACES.items():
        if name == ours or name.startswith(f"{ours}."):
            name = theirs + name.removeprefix(ours)
            break
    return re.sub(r"\.(norm[12])\.", r".\1.body.", name)


def _published_shape(name: str, ours: Tensor) -> tuple[int, ...]:
    """PromptIR's prompts have a dimension for the batch in front."""
    return (1, *ours.shape) if name.endswith(".prompt_param") else tuple(ours.shape)


def _check_same(network: str, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    differences = [
        *(
            f"{name} is {found[name]} instead of {shape}"
            for name, shape in expected.items()
            if found.get(name, shape) != shape
        ),
        *(f"{name} is unexpected" for name in found if name not in expected),
        *(f"{name} is missing" for name in expected if name not in found),
    ]
    if differences:
        more = len(differences) - _EXAMPLES
        shown = "; ".join(differences[:_EXAMPLES]) + (f"; and {more} more" if more > 0 else "")
        if network == "promptir" and not any(name.startswith("prompt") for name in found):
            message = (
                f"the checkpoint has no prompts: {shown}; expected PromptIR as published, with decoder=True: "
                "a network without prompts can only be imported if it is Restormer, with --from restormer"
            )
            raise InputError(message)
        message = (
            f"the checkpoint does not fit {network}: {shown}; "
            "expected the published network for colour images: docs/known-weights.md lists what fits"
        )
        raise InputError(message)


def _check_finite(state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        if not value.float().isfinite().all():
            message = (
                f"{name} has values that are not finite; expected the weights of a trained network: export it again"
            )
            raise InputError(message)
