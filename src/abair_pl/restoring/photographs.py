"""One photograph from file to file."""

import io
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from abair_pl.errors import AbairError, ImageError
from abair_pl.images import encode_photograph, make_folder, read_photograph, write_photograph
from abair_pl.images.photograph import Photograph
from abair_pl.images.writing import DEFAULT_QUALITY, check_size
from abair_pl.restore import Abair
from abair_pl.restore_options import BLIND_BLENDS
from abair_pl.restoring.inputs import STANDARD, Job
from abair_pl.result import Result

_MAX_STANDARD_BYTES = 2 << 30


@dataclass(frozen=True)
class Settings:
    """How photographs are restored; as :class:`Abair` and :meth:`Abair.restore` have it.

    Attributes:
        bundle: The bundle; None for the one that ships with the package.
        blend: What gives the weights.
        weights: Weights by name instead.
        strength: In [0, 1].
        passes: How often at most.
        tile_px: Side of tiles; None to choose it for each photograph.
        overlap_px: How far tiles reach into each other.
        device: Where it is done.
        suffix: Of the results; it tells their format.
        quality: Of JPEG and WebP.
    """

    bundle: Path | None = None
    blend: str = "soft"
    weights: Mapping[str, float] | None = None
    strength: float = 1.0
    passes: int = 1
    tile_px: int | None = None
    overlap_px: int = 192
    device: Literal["auto", "cpu", "cuda"] = "auto"
    suffix: str = "png"
    quality: int = DEFAULT_QUALITY

    def open(self) -> Abair:
        """The bundle, ready to restore.

        Raises:
            BundleError: There is none, or it is damaged.
            InputError: There is no such device.
        """
        return Abair.from_pretrained(self.bundle, self.device, self.tile_px, self.overlap_px)


@dataclass(frozen=True)
class Outcome:
    """What became of a photograph.

    Attributes:
        job: What was to be done.
        weights: The weight of each adapter by name.
        unknown: Its damage is unlike any adapter.
        guess: So that its weights are a guess.
        further: The weights of each pass after the first.
        seconds: From file to file.
        megapixels: Of the photograph.
        notes: What the user should know.
        failure: Why there is no result; empty where there is one.
    """

    job: Job
    weights: dict[str, float] = field(default_factory=dict)
    unknown: bool = False
    guess: bool = False
    further: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
    megapixels: float = 0.0
    notes: tuple[str, ...] = ()
    failure: str = ""


def attempt(model: Abair, job: Job, settings: Settings) -> Outcome:
    """Restore a photograph; what is wrong with it alone is in the outcome.

    Raises:
        InputError: An option is wrong for this bundle.
        AbairError: The result cannot be written.
    """
    try:
        return restore_photograph(model, job, settings)
    except ImageError as error:
        return Outcome(job, failure=str(error))
    except MemoryError:
        message = f"{job.source}: too little memory to read or write it; close other programs, or scale it down"
        return Outcome(job, failure=message)


def restore_photograph(model: Abair, job: Job, settings: Settings) -> Outcome:
    """Restore a photograph from file to file.

    Raises:
        ImageError: It is no image that can be restored, or the format does not take it.
        InputError: An option is wrong for this bundle.
        AbairError: The result cannot be written.
    """
    start = time.perf_counter()
    photograph = _read(job.source)
    tiles_before = model.tile_px
    try:
        check_size(photograph, settings.suffix)
        result = model.restore(
            photograph.pixels,
            settings.blend,
            settings.weights,
            job.sheet is not None,
            settings.strength,
            settings.passes,
        )
    except ImageError as error:
        message = f"{job.source}: {error}"
        raise ImageError(message) from error
    notes = photograph.notes
    if photograph.alpha is not None and settings.suffix == "jpg":
        notes = (*notes, "its alpha is left out, which JPEG does not have")
    if model.tile_px != tiles_before:
        notes = (*notes, f"memory ran out; it and what follows is done in tiles of {model.tile_px} px")
    _write(replace(photograph, pixels=result.restored), job.target, settings)
    if job.sheet is not None:
        _explain(photograph, result, model, job.sheet)
    weights, *further = ({name: round(weight, 4) for name, weight in found.items()} for found in result.of_passes)
    clean = 1.0 - sum(result.weights.values())
    if settings.weights is None and settings.blend in BLIND_BLENDS and clean > 0.5:
        nearly = "nearly " if any(weights.values()) else ""
        told = f"it is found clean and stays {nearly}as it is; --blend ADAPTER restores it all the same"
        notes = (*notes, told)
    megapixels = photograph.pixels[0].numel() / 1e6
    seconds = time.perf_counter() - start
    return Outcome(job, weights, result.unknown, result.is_guess, tuple(further), seconds, megapixels, notes)


def _read(source: Path) -> Photograph:
    if source != STANDARD:
        return read_photograph(source)
    data = sys.stdin.buffer.read(_MAX_STANDARD_BYTES + 1)
    if len(data) > _MAX_STANDARD_BYTES:
        message = f"standard input has more than {_MAX_STANDARD_BYTES >> 30} GiB; expected one photograph"
        raise ImageError(message)
    return read_photograph(io.BytesIO(data), "standard input")


def _write(photograph: Photograph, target: Path, settings: Settings) -> None:
    if target == STANDARD:
        data = encode_photograph(photograph, settings.suffix, settings.quality)
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            message = f"cannot write to standard output ({error.strerror or error}); make room, or give a folder"
            raise AbairError(message) from error
        return
    make_folder(target.parent)
    write_photograph(photograph, target, settings.quality)


def _explain(photograph: Photograph, result: Result, model: Abair, sheet: Path) -> None:
    from abair_pl.restoring.explain import write_sheet  # what it draws with takes long to import

    make_folder(sheet.parent)
    write_sheet(photograph.pixels, result, ["clean", *model.bundle.config.degradations], sheet)
