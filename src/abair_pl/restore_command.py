"""``abair-pl restore``: photographs in, photographs out."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from abair_pl.errors import AbairError, ImageError, InputError
from abair_pl.images import Photograph, find_images, make_folder, read_photograph, write_photograph
from abair_pl.models.weights import parse_weights
from abair_pl.restore import Abair


def restore_files(
    input: list[Path],  # noqa: A002 - the option's name
    output: Path,
    bundle: Path | None = None,
    blend: str | None = None,
    weights: str | None = None,
    tile_px: int = 512,
    overlap_px: int = 192,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    format: Literal["png", "jpg", "webp", "tiff"] = "png",  # noqa: A002 - the option's name
    json: bool = False,
) -> int:
    """Restore photographs.

    Size, alpha, ICC profile and EXIF are kept; the weights that the estimator chose are printed.

    Args:
        input: Files or folders.
        output: Folder for the results, each named as its input.
        bundle: The bundle; the one that ships with the package if left out.
        blend: soft, one_hot, pixel for weights of each pixel, sum, average, none, or the name of an adapter; soft if
            left out.
        weights: Weights by name instead, such as rain=0.7,noise=0.3.
        tile_px: Images with a longer side are done in tiles of this side.
        overlap_px: How far neighbouring tiles reach into each other.
        device: auto takes a GPU where there is one.
        format: Format of the results.
        json: Print one JSON object a line on stdout.

    Raises:
        InputError: An option is wrong, or the bundle; what is wrong with one image is told, and the others restored.
    """
    if blend is not None and weights is not None:
        message = f"blend is {blend} and weights are {weights}; expected one of them: leave out --blend or --weights"
        raise InputError(message)
    fixed = None if weights is None else parse_weights(weights)
    paths = find_images(input)
    targets = [output / f"{path.stem}.{format}" for path in paths]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        message = f"several inputs would be written to {min(twice)}; give inputs of different stems"
        raise InputError(message)
    model = Abair.from_pretrained(bundle, device, tile_px, overlap_px)
    make_folder(output)
    failures: list[AbairError] = []
    bar = tqdm(list(zip(paths, targets, strict=True)), unit="image", disable=len(paths) == 1 or None)
    for path, target in bar:
        try:
            restore_file(model, path, target, blend or "soft", fixed, json)
        except ImageError as error:
            failures.append(error)
            sys.stderr.write(f"abair-pl: error: {error}\n")
    return InputError.exit_status if failures else 0


def restore_file(
    model: Abair, source: Path, target: Path, blend: str, weights: Mapping[str, float] | None, as_json: bool
) -> None:
    """Restore one photograph and tell of it on stdout.

    Args:
        model: The bundle, ready to restore.
        source: The photograph.
        target: The file to write, in one step.
        blend: As :meth:`Abair.restore` has it.
        weights: Weights by name instead.
        as_json: Print one JSON object instead of a line for people.

    Raises:
        ImageError: It is no image that can be restored, or would be overwritten.
        AbairError: The result cannot be written.
    """
    start = time.perf_counter()
    photograph = read_photograph(source)
    if source.resolve() == target.resolve():
        message = f"{source} would be overwritten by its own result; choose another --output"
        raise ImageError(message)
    try:
        result = model.restore(photograph.pixels, blend, weights, with_labels=False)
    except ImageError as error:
        message = f"{source}: {error}"
        raise ImageError(message) from error
    write_photograph(Photograph(result.restored, photograph.alpha, photograph.icc_profile, photograph.exif), target)
    seconds = time.perf_counter() - start
    shown = {name: round(weight, 4) for name, weight in result.weights.items()}
    if result.unknown:
        message = f"{source}: its damage is unlike any adapter; weights are a guess"
        sys.stderr.write(f"abair-pl: warning: {message}\n")
    if as_json:
        line = {"input": str(source), "output": str(target), "weights": shown, "unknown": result.unknown}
        measured = {"seconds": round(seconds, 3), "megapixels": photograph.pixels[0].numel() / 1e6}
        print(json.dumps({**line, **measured}), flush=True)
    else:
        ranked = sorted(shown.items(), key=lambda item: -item[1])
        print(f"{source} -> {target}  " + "  ".join(f"{name} {weight:.2f}" for name, weight in ranked), flush=True)
