"""``abair-pl bundle import``: a bundle from a published checkpoint, without unpickling it."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from abair_pl.bundle import save_backbone
from abair_pl.bundle_output import check_output
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import InputError
from abair_pl.models.published import Published, published_backbone
from abair_pl.module_files import MAX_WEIGHTS_BYTES, read_tensors

_CONTAINERS = ("params_ema", "params", "state_dict")
_PREFIXES = ("module.", "net.", "module.")
_MAX_STRUCTURE_BYTES = 16 << 20


def import_bundle(checkpoint: Path, /, from_: Published, output: Path) -> None:
    """Make a bundle of a published checkpoint of Restormer or PromptIR.

    It holds a backbone without a segmentation head; adapters and an estimator are trained on it like on any other.

    Args:
        checkpoint: The file: .pth, .ckpt or .safetensors. Of a pickle only plain tensors are read; nothing that it
            names is imported or run.
        from_: The network that it belongs to.
        output: The bundle to write; one that is there is kept as NAME.previous.

    Raises:
        InputError: The file cannot be read so, or its tensors do not fit the network; or something else than a bundle
            is at the output, or the file is in it.
    """
    check_output(output, checkpoint)
    backbone = published_backbone(from_, read_checkpoint(checkpoint))
    provenance = {"imported_from": from_, "file": checkpoint.name, "file_sha256": file_sha256(checkpoint)}
    save_backbone(output, backbone, from_, [], provenance)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    print(f"{output}: {from_} with {parameters / 1e6:.2f} M parameters, from {checkpoint}")


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name.

    The containers of BasicSR (``params_ema``, ``params``) and Lightning (``state_dict``) are opened, and the prefixes
    ``net.`` and ``module.`` of names are taken off.

    Args:
        file: From ``torch.save``, or ``.safetensors``.

    Returns:
        On the CPU, in the types that they were saved in.

    Raises:
        InputError: The file is missing or damaged, needs unpickling, or holds something else.
    """
    if not file.is_file():
        message = f"there is no {file}; expected a checkpoint: docs/known-weights.md says where they are published"
        raise InputError(message)
    if file.stat().st_size > MAX_WEIGHTS_BYTES:
        message = (
            f"{file} has {file.stat().st_size} bytes; expected at most {MAX_WEIGHTS_BYTES}: save the weights alone"
        )
        raise InputError(message)
    try:
        held = read_tensors(file) if file.suffix == ".safetensors" else _restricted(file)
    except Exception as error:  # of a damaged pickle, any
        raise _unreadable(file, error) from None
    for container in _CONTAINERS:
        if isinstance(held, Mapping) and isinstance(held.get(container), Mapping):
            held = held[container]
            break
    if not isinstance(held, Mapping) or not held or not all(isinstance(value, Tensor) for value in held.values()):
        message = (
            f"{file} holds no state dict; expected tensors by name, at the top or as {', '.join(_CONTAINERS)}: "
            "save the network's state_dict()"
        )
        raise InputError(message)
    state = {str(name): value for name, value in held.items()}
    for name, value in state.items():
        _check_plain(file, name, value)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _restricted(file: Path) -> Any:
    """What ``torch.save`` wrote, by the restricted reader, which imports nothing; a packed archive is refused."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                large = entry.filename.endswith("data.pkl") and entry.file_size > _MAX_STRUCTURE_BYTES
                if entry.compress_type != zipfile.ZIP_STORED or large:
                    message = f"{entry.filename} is packed, or too large"
                    raise ValueError(message)
    return torch.load(file, "cpu", weights_only=True)


def _check_plain(file: Path, name: str, value: Tensor) -> None:
    """Refuse what holds no plain real numbers."""
    kinds = {
        "has no values": value.is_meta,
        "is sparse": value.layout != torch.strided,
        "is quantized": value.is_quantized,
        f"holds {str(value.dtype).removeprefix('torch.')}": not value.is_floating_point(),
    }
    for what, found in kinds.items():
        if found:
            message = f"{file}: {name} {what}; expected dense tensors of real numbers: save the network's state_dict()"
            raise InputError(message)


def _unreadable(file: Path, error: Exception) -> InputError:
    """What is wrong with a file; PyTorch's own message would advise to unpickle it."""
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code:
        return InputError(
            f"{file} holds more than weights: {code[1]} would have to be unpickled, and is not; expected tensors "
            "only: where you trust the file, save its state_dict() as .safetensors"
        )
    return InputError(f"{file} is damaged or no checkpoint; expected plain weights by torch.save: download it again")
