"""The weights of a whole network as one safetensors file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError

Module = TypeVar("Module", bound=nn.Module)


def save_module(module: nn.Module, file: Path) -> str:
    """Write a module's weights as contiguous float32 safetensors, and give the file's sha256."""
    save_file({name: value.detach().cpu().float().contiguous() for name, value in module.state_dict().items()}, file)
    return file_sha256(file)


def load_module(make: Callable[[], Module], file: Path, sha256: str) -> Module:
    """A module with the weights of a file; its memory is taken when the file is known to be the right one and to fit.

    Args:
        make: What makes the module, also on the device ``meta``.
        file: The file.
        sha256: Its digest as ``config.json`` has it.

    Raises:
        BundleError: The file is missing or damaged, is another one, or does not fit the module.
    """
    try:
        digest = file_sha256(file)
        if digest != sha256:
            message = f"{file} has sha256 {digest[:12]}, config.json expects {sha256[:12]}; copy or train it again"
            raise BundleError(message)
        tensors = load_file(file)
    except FileNotFoundError:
        message = f"{file} is missing; copy the whole bundle, or train it again"
        raise BundleError(message) from None
    except (OSError, SafetensorError) as error:
        message = f"{file} is damaged ({error}); copy or train it again"
        raise BundleError(message) from error
    with torch.device("meta"):
        expected = _shapes(make().state_dict())
    found = _shapes(tensors)
    unlike = sorted(name for name, _ in found.items() ^ expected.items())
    if unlike:
        holds, expects = (shapes.get(unlike[0], "nothing") for shapes in (found, expected))
        message = f"{file} has {holds} as {unlike[0]}, config.json expects {expects}; copy or train it again"
        raise BundleError(message)
    module = make()
    module.load_state_dict(tensors)
    return module


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}
