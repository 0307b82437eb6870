"""``abair-pl restore``."""

import json as json_format
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from abair_pl.errors import ERROR_PREFIX, InputError, one_line
from abair_pl.images import make_folder
from abair_pl.images.writing import DEFAULT_QUALITY, LOSSY, format_of
from abair_pl.models.weights import parse_weights
from abair_pl.restore_options import check_passes, check_strength
from abair_pl.restoring.inputs import STANDARD, plan_jobs
from abair_pl.restoring.photographs import Outcome, Settings
from abair_pl.restoring.workers import check_devices, run_jobs


def restore_files(
    input: list[Path],  # noqa: A002 - the option's name
    output: Path,
    bundle: Path | None = None,
    blend: str | None = None,
    weights: str | None = None,
    strength: float = 1.0,
    passes: int = 1,
    tile_px: int | None = None,
    overlap_px: int = 192,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    devices: int = 1,
    format: Literal["png", "jpg", "webp", "tiff"] = "png",  # noqa: A002 - the option's name
    quality: int | None = None,
    skip_existing: bool = False,
    explain: bool = False,
    json: bool = False,
) -> int:
    """Restore photographs.

    Size, grey, alpha, 16 bits, ICC profile and EXIF are kept; the weights that the estimator chose are printed.

    Args:
        input: Files, folders with all that is below them, patterns in quotes, or - for standard input.
        output: Folder for the results, each named as its input, below a folder given as input by its path there; - for
            standard output.
        bundle: The bundle; the one that ships with the package if left out.
        blend: soft, one_hot, pixel for weights of each pixel, sum, average, none, or the name of an adapter; soft if
            left out.
        weights: Weights by name instead, such as rain=0.7,noise=0.3.
        strength: From 0, the photograph as it is, to 1, all that the network changes.
        passes: How often a photograph is restored at most, by what else is found in the result; for mixtures.
        tile_px: Images with a longer side are done in tiles of this side; chosen by size and memory if left out. Where
            memory runs out, it is halved.
        overlap_px: How far neighbouring tiles reach into each other.
        device: auto takes a GPU where there is one.
        devices: Processes that share the photographs, of a GPU each where there are any.
        format: Format of the results.
        quality: Of jpg and webp, 1 to 100; 95 if left out.
        skip_existing: Leave out photographs whose result is there.
        explain: Write a sheet beside each result, NAME.explain.png, with before, after, weights and a map of labels.
        json: Print one JSON object a line on stdout.

    Raises:
        InputError: An option is wrong, or the bundle; what is wrong with one image is told, and the others restored.
    """
    if blend is not None and weights is not None:
        message = f"blend is {blend} and weights are {weights}; expected one of them: leave out --blend or --weights"
        raise InputError(message)
    check_strength(strength)
    fixed = None if weights is None else parse_weights(weights)
    chosen = "soft" if blend is None else blend
    check_passes(passes, chosen, fixed)
    _check_quality(format, quality)
    if output == STANDARD and (json or skip_existing):
        message = "standard output takes the photograph; expected a folder as --output with --json or --skip-existing"
        raise InputError(message)
    check_devices(device, devices)
    planned = plan_jobs(input, output, format, explain)
    jobs = [job for job in planned if not (skip_existing and job.target.exists())]
    settings = Settings(
        bundle,
        chosen,
        fixed,
        strength,
        passes,
        tile_px,
        overlap_px,
        device,
        format,
        quality or DEFAULT_QUALITY,
    )
    if output != STANDARD:
        make_folder(output)
    start, megapixels, failed = time.perf_counter(), 0.0, 0
    with tqdm(total=len(jobs), unit="image", disable=len(planned) == 1 or None) as bar:
        for outcome in run_jobs(jobs, settings, devices) if jobs else ():
            megapixels += outcome.megapixels
            failed += bool(outcome.failure)
            with bar.external_write_mode():
                _tell(outcome, json)
            bar.set_postfix_str(f"{megapixels / (time.perf_counter() - start):.2f} MP/s", refresh=False)
            bar.update()
    if len(planned) > 1:
        seconds = time.perf_counter() - start
        counts = f"{len(jobs) - failed} restored, {len(planned) - len(jobs)} skipped, {failed} failed"
        speed = f"{megapixels:.2f} megapixels in {seconds:.1f} s, {megapixels / seconds:.2f} a second"
        sys.stderr.write(f"abair-pl: {counts}; {speed}\n")
    return InputError.exit_status if failed else 0


def _check_quality(suffix: str, quality: int | None) -> None:
    if quality is None:
        return
    if format_of(suffix) not in LOSSY:
        message = f"quality is {quality} and the format {suffix}, which loses nothing; expected --format jpg or webp"
        raise InputError(message)
    if not 1 <= quality <= 100:
        message = f"quality is {quality}; expected 1 to 100"
        raise InputError(message)


def _tell(outcome: Outcome, as_json: bool) -> None:
    """Results on stdout, and all else, or everything where the photograph itself goes there, on stderr."""
    job = outcome.job
    if outcome.failure:
        sys.stderr.write(f"{ERROR_PREFIX}{one_line(outcome.failure)}\n")
        return
    for note in outcome.notes:
        sys.stderr.write(f"abair-pl: note: {job.source}: {note}\n")
    if outcome.guess:
        message = f"{job.source}: its damage is unlike any adapter; weights are a guess"
        sys.stderr.write(f"abair-pl: warning: {message}\n")
    if as_json:
        line = {"input": str(job.source), "output": str(job.target), "weights": outcome.weights}
        further = {"further": outcome.further} if outcome.further else {}
        measured = {"seconds": round(outcome.seconds, 3), "megapixels": outcome.megapixels}
        print(json_format.dumps({**line, **further, "unknown": outcome.unknown, **measured}), flush=True)
        return
    shown = "  then ".join(map(_ranked, (outcome.weights, *outcome.further)))
    stream = sys.stderr if job.target == STANDARD else sys.stdout
    print(f"{job.source} -> {job.target}  {shown}", file=stream, flush=True)


def _ranked(weights: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {weight:.2f}" for name, weight in sorted(weights.items(), key=lambda item: -item[1]))
