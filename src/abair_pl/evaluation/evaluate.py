"""``abair-pl evaluate``: measure a bundle on pairs, or on clean photographs that the synthesizer degrades."""

import csv
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from abair_pl.atomic import write_text
from abair_pl.data.decode import decode_depth
from abair_pl.degradations import Synthesizer, parse_degradation
from abair_pl.degradations.random import SEED_LIMIT, combine
from abair_pl.errors import ImageError, InputError, unknown_name
from abair_pl.evaluation.figures import comparison_sheet
from abair_pl.evaluation.protocols import Protocol, named_protocol
from abair_pl.evaluation.table import markdown_table
from abair_pl.images import find_images, read_photograph
from abair_pl.restore import Abair, make_folder

_CROP_PX = 256


@dataclass(frozen=True)
class _Pair:
    """A degraded image with its reference.

    Attributes:
        image: The file's stem.
        degradation: What was done to it, in the grammar; empty for real pairs.
        name: The degradation's name; empty for real pairs.
        draw: Which of its degradations by the same rule this is.
        degraded: ``(3, H, W)`` in [0, 1].
        clean: The same shape.
    """

    image: str
    degradation: str
    name: str
    draw: int
    degraded: Tensor
    clean: Tensor


def evaluate(
    output: Path,
    bundle: Path | None = None,
    input: Path | None = None,  # noqa: A002 - the option's name
    target: Path | None = None,
    clean: Path | None = None,
    degrade: list[str] | None = None,
    draws: int = 1,
    seed: int = 0,
    blend: list[str] | None = None,
    protocol: Literal["rgb", "y"] = "rgb",
    sheet: Path | None = None,
    tile_px: int = 1024,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Measure PSNR and SSIM of a bundle's results; writes results.json and results.csv, one row an image.

    Give either --input and --target, folders of pairs with equal file stems, or --clean and --degrade.

    Args:
        output: Folder for the results.
        bundle: The bundle; the one that ships with the package if left out.
        input: Folder of degraded images.
        target: Folder of their references.
        clean: Folder of clean photographs to degrade; x.depth.png beside x.jpg is its depth, for haze.
        degrade: What to do to them, such as noise:sigma=25 or rain:severity=0.8; several give one table.
        draws: How often each photograph is degraded in each way.
        seed: Seed of the degradations, from 0 to 2**53 - 1.
        blend: soft, one_hot, none, an adapter's name, or oracle for the adapter named as the degradation; several are
            measured side by side.
        protocol: How images are compared: rgb, or y for luma.
        sheet: PNG to write with each degradation and its results side by side.
        tile_px: Images with a longer side are done in tiles of this side.
        device: auto takes a GPU where there is one.

    Raises:
        InputError: The options do not fit together, or a name is not known.
    """
    measures = named_protocol(protocol)
    pairs, count = _pairs(input, target, clean, degrade, draws, seed)
    blends = blend or ["soft"]
    model = Abair.from_pretrained(bundle, device, tile_px)
    for mode in blends:
        if mode not in (known := ["oracle", *model.blends]):
            raise unknown_name(mode, "blend", known)
    make_folder(output)
    scored = model.names if model.bundle.config.estimated == model.names else []  # else phase III is to be run again
    rows: list[dict[str, Any]] = []
    shown: dict[str, list[tuple[str, Tensor]]] = {}
    counts: dict[str, int] = {}
    guesses: list[bool] = []
    for pair in tqdm(pairs, total=count, unit="image", desc="evaluate"):
        results = [(mode, *_measure(model, pair, mode, measures)) for mode in blends]
        rows += [row for _, row, _ in results]
        strip = [(mode, restored) for mode, _, restored in results]
        order = counts[pair.degradation] = counts.get(pair.degradation, -1) + 1
        if order < len(counts):  # the first row shows the first image, the second row the second
            shown[pair.degradation] = [("input", pair.degraded), *strip, ("clean", pair.clean)]
        if pair.name in scored:
            guesses += _crop_guesses(model, pair)
    summary = _summary(rows, measures, degrade, seed)
    if guesses:
        summary["estimator"] = {"crops": len(guesses), "crop_px": _CROP_PX, "accuracy": sum(guesses) / len(guesses)}
    _write(output, rows, summary)
    if sheet is not None:
        comparison_sheet(shown, sheet)
    print(markdown_table(summary["mean_by"], blends))
    if guesses:
        share = summary["estimator"]["accuracy"]
        print(f"\nestimator: {share:.1%} of {len(guesses)} crops of {_CROP_PX} px named right")
    print(f"\nwritten to {output}" + (f" and {sheet}" if sheet else ""))


def _pairs(
    source: Path | None, target: Path | None, clean: Path | None, degrade: list[str] | None, draws: int, seed: int
) -> tuple[Iterator[_Pair], int]:
    """The pairs that the options describe, and how many there are."""
    if source is not None and target is not None and clean is None and degrade is None:
        degraded, reference = _by_stem(source), _by_stem(target)
        lonely = sorted(degraded.keys() ^ reference.keys())
        if lonely:
            message = f"{len(lonely)} images have no partner of the same stem, such as '{lonely[0]}'; name pairs alike"
            raise InputError(message)
        return (_real_pair(degraded[stem], reference[stem]) for stem in degraded), len(degraded)
    if clean is not None and degrade and source is None and target is None:
        if draws < 1:
            message = f"draws is {draws}; expected at least 1"
            raise InputError(message)
        if not 0 <= seed < SEED_LIMIT:
            message = f"seed is {seed}; expected at least 0 and less than 2**53"
            raise InputError(message)
        if len(set(degrade)) < len(degrade):
            message = f"degrade is {' '.join(degrade)}; expected each once: for several draws, raise --draws"
            raise InputError(message)
        synthesizers = {spec: Synthesizer.only(parse_degradation(spec)) for spec in degrade}
        paths = find_images([clean])
        made = (
            _synthetic_pair(path, spec, synthesizer, seed, draw)
            for spec, synthesizer in synthesizers.items()
            for draw in range(draws)
            for path in paths
        )
        return made, len(paths) * len(degrade) * draws
    message = "expected either --input and --target, or --clean and --degrade"
    raise InputError(message)


def _by_stem(folder: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in find_images([folder]):
        if path.stem in named:
            message = f"{path} and {named[path.stem]} have the same stem; expected one image of it: rename one"
            raise InputError(message)
        named[path.stem] = path
    return named


def _real_pair(degraded: Path, clean: Path) -> _Pair:
    image, reference = read_photograph(degraded).pixels, read_photograph(clean).pixels
    if image.shape != reference.shape:
        sizes = [
            f"{path} {pixels.shape[2]} x {pixels.shape[1]}" for path, pixels in ((degraded, image), (clean, reference))
        ]
        message = f"sizes are {' and '.join(sizes)} pixels; expected the same: crop or pair them alike"
        raise ImageError(message)
    return _Pair(clean.stem, "", "", 0, image, reference)


def _synthetic_pair(path: Path, spec: str, synthesizer: Synthesizer, seed: int, draw: int) -> _Pair:
    clean = read_photograph(path).pixels
    seeds = torch.tensor([combine(combine(seed, draw), zlib.crc32(path.stem.encode()))])
    name = synthesizer.sources[-1]
    synthesis = synthesizer(clean[None], synthesizer.plan(seeds, name), _depth_beside(path, clean))
    return _Pair(path.stem, spec, name, draw, synthesis.degraded[0], clean)


def _depth_beside(path: Path, clean: Tensor) -> Tensor | None:
    """The depth ``(1, 1, H, W)`` in ``x.depth.png`` beside ``x.jpg``; None where there is none."""
    file = path.with_suffix(".depth.png")
    if not file.is_file():
        return None
    depth = torch.from_numpy(decode_depth(file.read_bytes(), str(file)))
    if depth.shape != clean.shape[1:]:
        message = f"{file} has size {tuple(depth.shape)}, {path.name} {tuple(clean.shape[1:])}; expected the same"
        raise ImageError(message)
    return depth[None, None]


def _measure(model: Abair, pair: _Pair, mode: str, measures: Protocol) -> tuple[dict[str, Any], Tensor]:
    """One row of results, and the restored image."""
    if mode == "oracle" and pair.name not in model.names:
        message = f"oracle needs an adapter named as the degradation '{pair.name}'; there are: {', '.join(model.names)}"
        raise InputError(message)
    result = model.restore(pair.degraded, pair.name if mode == "oracle" else mode, with_labels=False)
    before = measures.measure(pair.degraded, pair.clean)
    after = measures.measure(result.restored, pair.clean)
    row: dict[str, Any] = {"image": pair.image, "degradation": pair.degradation, "draw": pair.draw, "blend": mode}
    row |= dict(zip(("psnr_input", "ssim_input", "psnr", "ssim"), (*before, *after), strict=True))
    row |= {f"weight_{name}": weight for name, weight in result.weights.items()}
    return row, result.restored


def _crop_guesses(model: Abair, pair: _Pair) -> list[bool]:
    """Whether the estimator names the degradation of each crop of an image right; crops overlap by half."""
    _, height, width = pair.degraded.shape
    crops = [
        pair.degraded[:, top : top + _CROP_PX, left : left + _CROP_PX]
        for top in range(0, height - _CROP_PX + 1, _CROP_PX // 2)
        for left in range(0, width - _CROP_PX + 1, _CROP_PX // 2)
    ]
    if not crops:
        return []
    with torch.inference_mode():
        guesses = model.estimator()(torch.stack(crops).to(model.device)).argmax(dim=1).tolist()
    expected = 1 + model.names.index(pair.name)
    return [guess == expected for guess in guesses]


def _summary(rows: list[dict[str, Any]], measures: Protocol, degrade: list[str] | None, seed: int) -> dict[str, Any]:
    """Means over the rows of the first blend, and for each degradation and blend."""
    groups: dict[str, dict[str, dict[str, float]]] = {}
    for degradation in dict.fromkeys(row["degradation"] for row in rows):
        mine = [row for row in rows if row["degradation"] == degradation]
        blends = dict.fromkeys(row["blend"] for row in mine)
        groups[degradation] = {blend: _means([row for row in mine if row["blend"] == blend]) for blend in blends}
    source = {"degrade": degrade, "draws": 1 + max(row["draw"] for row in rows), "seed": seed} if degrade else {}
    first = [row for row in rows if row["blend"] == rows[0]["blend"]]
    return {"protocol": {**asdict(measures), **source}, "mean": _means(first), "mean_by": groups, "images": rows}


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    keys = ("psnr_input", "ssim_input", "psnr", "ssim")
    return {key: sum(row[key] for row in rows) / len(rows) for key in keys}


def _write(output: Path, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_text(output / "results.json", json.dumps(summary, indent=2) + "\n")
    write_text(output / "results.csv", table.getvalue())
