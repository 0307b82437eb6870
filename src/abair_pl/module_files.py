"""The weights of a whole network as one safetensors file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from abair_pl.bundle_files import check_part, reason
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError

MAX_WEIGHTS_BYTES = 8 << 30
MAX_HEADER_BYTES = 8 << 20
"""The published networks' headers have a fiftieth."""

_DAMAGE = (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError)

Module = TypeVar("Module", bound=nn.Module)


def save_module(module: nn.Module, file: Path) -> str:
    """Write a module's weights as contiguous float32 safetensors, and give the file's sha256."""
    save_file({name: value.detach().cpu().float().contiguous() for name, value in module.state_dict().items()}, file)
    return file_sha256(file)


def read_tensors(file: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Args:
        file: The file; it must be a plain one.
        shapes: What it has to hold; this is compared before any memory is taken.

    Raises:
        OSError: It cannot be read.
        SafetensorError: It is damaged.
        ValueError: It or its header is too large, or it holds something else.
    """
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        size_bytes = stream.seek(0, 2)
    if size_bytes > MAX_WEIGHTS_BYTES or header_bytes > MAX_HEADER_BYTES:
        message = (
            f"{size_bytes} bytes with a header of {header_bytes}, expected at most {MAX_WEIGHTS_BYTES} with "
            f"{MAX_HEADER_BYTES}"
        )
        raise ValueError(message)
    if shapes is not None:
        with safe_open(file, "pt") as opened:
            found = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        unlike = sorted(name for name, _ in found.items() ^ shapes.items())
        if unlike:
            holds, expects = (known.get(unlike[0], "nothing") for known in (found, shapes))
            message = f"it has {holds} as {unlike[0]}, config.json expects {expects}"
            raise ValueError(message)
    return load_file(file)


def load_module(make: Callable[[], Module], bundle: Path, file: Path, sha256: str) -> Module:
    """A module with the weights of a file; its memory is taken when the file is known to be the right one and to fit.

    Args:
        make: What makes the module, also on the device ``meta``.
        bundle: The bundle that the file has to be in.
        file: The file.
        sha256: Its digest as ``config.json`` has it.

    Raises:
        BundleError: The file is missing or damaged, is another one, does not fit the module, or has values that are
            not finite.
    """
    check_part(bundle, file, {"": sha256})
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in make().state_dict().items()}
    try:
        tensors = read_tensors(file, expected)
        _check_finite(tensors)
    except _DAMAGE as error:
        message = f"{file} is damaged ({reason(error)}); copy or train it again"
        raise BundleError(message) from error
    module = make()
    module.load_state_dict(tensors)
    return module


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if not value.is_floating_point():
            message = f"{name} holds {str(value.dtype).removeprefix('torch.')}, expected real numbers"
            raise ValueError(message)
        if not value.float().isfinite().all():
            message = f"{name} has values that are not finite"
            raise ValueError(message)
