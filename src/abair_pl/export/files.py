"""The two kinds of file that a captured restorer is written to."""

import json
import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from torch.export import ExportedProgram

from abair_pl.errors import InputError
from abair_pl.export.capture import IMAGE_AXES

FACTS_FILE = "abair_pl.json"
"""Where a torch.export file has its facts."""

MIN_OPSET, MAX_OPSET = 18, 23
"""Versions of ONNX's operators that PyTorch writes without converting; 20 is its own choice."""

_NEEDED = ("onnx", "onnxscript")


def check_onnx(opset: int | None) -> None:
    """Refuse what cannot be written as ONNX, before any work is done.

    Raises:
        InputError: A package is missing, or the opset is out of range.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        message = f"{' and '.join(missing)} not installed, which --format onnx needs: pip install 'abair-pl[export]'"
        raise InputError(message)
    if opset is not None and not MIN_OPSET <= opset <= MAX_OPSET:
        message = f"--opset is {opset}; expected {MIN_OPSET} to {MAX_OPSET}, or leave it out"
        raise InputError(message)


def write_onnx(program: ExportedProgram, facts: Mapping[str, str], file: Path, opset: int | None) -> None:
    """Write an ONNX file with its weights inside and the facts as ``metadata_props``.

    Args:
        program: The captured restorer.
        facts: What the file says about itself.
        file: Where to write.
        opset: Version of ONNX's operators.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # or it misses torchvision, of which nothing is used
    shapes: dict[str, dict[int, str]] = {"image": IMAGE_AXES, **({"weights": {}} if facts["weights"] else {})}
    written = torch.onnx.export(
        program, verbose=False, opset_version=opset, output_names=["restored"], dynamic_shapes=shapes, dynamo=True
    )
    made = cast(torch.onnx.ONNXProgram, written)
    made.model.metadata_props.update(facts)
    made.save(file, external_data=False)


def write_torch_export(program: ExportedProgram, facts: Mapping[str, str], file: Path) -> None:
    """Write a file for ``torch.export.load``, with the facts as JSON beside the graph."""
    with warnings.catch_warnings(), file.open("wb") as stream:
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")  # it is of channels-last
        torch.export.save(program, stream, extra_files={FACTS_FILE: json.dumps(facts, indent=2)})
