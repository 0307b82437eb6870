"""``abair-pl export``: a bundle as one file for other runtimes."""

from pathlib import Path
from typing import Literal

from abair_pl.atomic import published
from abair_pl.bundle import Bundle, shipped_bundle
from abair_pl.errors import AbairError, InputError
from abair_pl.export.capture import captured
from abair_pl.export.facts import export_facts
from abair_pl.export.files import check_onnx, write_onnx, write_torch_export
from abair_pl.export.restorer import exported_restorer
from abair_pl.images import make_folder

_SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}


def export(
    output: Path,
    bundle: Path | None = None,
    format: Literal["onnx", "torch-export"] = "onnx",  # noqa: A002 - the option's name
    weights: str | None = None,
    opset: int | None = None,
) -> None:
    """Write a bundle as one file: an image, and the weights of the adapters, to the restored image.

    Batch, height and width are open; padding and the blend are inside. The estimator is not.

    Args:
        output: The file to write, named .onnx or .pt2; one that is there is replaced.
        bundle: The bundle; the one that ships with the package if left out.
        format: onnx, or torch-export for torch.export.load.
        weights: Merge this mixture in, such as rain=0.7,haze=0.3, instead of taking weights as a second input.
        opset: Version of ONNX's operators; PyTorch's choice if left out.

    Raises:
        InputError: An option is wrong, or a package is missing.
        BundleError: There is no bundle, or it is damaged.
        AbairError: The file cannot be written.
    """
    if output.suffix.lower() != _SUFFIXES[format] or output.is_dir():
        message = f"--output is {output}; expected a file named {_SUFFIXES[format]} for --format {format}"
        raise InputError(message)
    if format == "onnx":
        check_onnx(opset)
    elif opset is not None:
        message = f"--opset is {opset} with --format torch-export, which has none; leave it out, or use --format onnx"
        raise InputError(message)
    opened = Bundle.open(shipped_bundle() if bundle is None else bundle)
    restorer = exported_restorer(opened, weights)
    facts = export_facts(opened, restorer, weights)
    make_folder(output.parent)
    print("capturing the network, which takes a minute or more ...", flush=True)
    try:
        program = captured(restorer)
        with published(output) as partial:
            if format == "onnx":
                write_onnx(program, facts, partial, opset)
            else:
                write_torch_export(program, facts, partial)
    except OSError as error:
        message = f"cannot write {output} ({error.strerror or error}); make room, or choose another --output"
        raise AbairError(message) from error
    takes = f"image and the weights of {', '.join(restorer.names)}" if restorer.names else "image"
    print(f"{output}: {opened.config.preset}, {takes}; {output.stat().st_size / 1e6:.1f} MB")
