"""``abair-pl evaluate``: measure a bundle on pairs, or on clean photographs that the synthesizer degrades."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from abair_pl.atomic import write_text
from abair_pl.errors import InputError, unknown_name
from abair_pl.evaluation.figures import comparison_sheet
from abair_pl.evaluation.pairs import Pair, PairSource, find_pairs
from abair_pl.evaluation.protocols import Protocol, named_protocol
from abair_pl.evaluation.table import markdown_table
from abair_pl.images import make_folder
from abair_pl.restore import Abair
from abair_pl.restore_options import BLIND_BLENDS, ESTIMATED_BLENDS, check_passes

_CROP_PX = 256


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
    passes: int = 1,
    protocol: str = "rgb",
    sheet: Path | None = None,
    tile_px: int = 512,
    overlap_px: int = 192,
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
        degrade: What to do to them, such as noise:sigma=25 or rain:severity=0.8; several give one table;
            'rain|noise' degrades the left half by rain and the right half by noise.
        draws: How often each photograph is degraded in each way.
        seed: Seed of the degradations, from 0 to 2**53 - 1.
        blend: soft, one_hot, pixel, sum, average, none, an adapter's name, or oracle for the adapter named as the
            degradation that --degrade made; several are measured side by side.
        passes: How often an image is restored at most by soft and one_hot; by other blends it is once.
        protocol: How images are compared: rgb, y for luma, rgb_uniform7 or y_uniform7; y:border=4,rounding=luma and the
            like change their settings, see docs/evaluation.md.
        sheet: PNG to write with each degradation and its results side by side.
        tile_px: Images with a longer side are done in tiles of this side.
        overlap_px: How far neighbouring tiles reach into each other.
        device: auto takes a GPU where there is one.

    Raises:
        InputError: The options do not fit together, or a name is not known.
    """
    measures = named_protocol(protocol)
    sources = find_pairs(input, target, clean, degrade, draws, seed)
    blends = blend or ["soft"]
    if len(set(blends)) < len(blends):
        message = f"blend is {' '.join(blends)}; expected each once"
        raise InputError(message)
    if "oracle" in blends and not degrade:
        message = "oracle knows no degradation of real pairs; expected --clean and --degrade: name an adapter instead"
        raise InputError(message)
    check_passes(passes)
    model = Abair.from_pretrained(bundle, device, tile_px, overlap_px)
    for mode in blends:
        if mode not in (known := ["oracle", *model.blends]):
            raise unknown_name(mode, "blend", known)
    make_folder(output)
    scored = model.names if model.bundle.estimator_is_current else []  # else phase III is to be run again
    rows: list[dict[str, Any]] = []
    shown: dict[str, list[tuple[str, Tensor]]] = {}
    counts: dict[str, int] = {}
    guesses: list[bool] = []
    for source in tqdm(sources, unit="image", desc="evaluate"):
        pair = source.load()
        before = measures.measure(pair.degraded, pair.clean)
        results = [(mode, *_measure(model, source, pair, mode, passes, measures, before)) for mode in blends]
        rows += [row for _, row, _ in results]
        strip = [(mode, restored) for mode, _, restored in results]
        order = counts[source.degradation] = counts.get(source.degradation, -1) + 1
        if order < len(counts):  # the first row shows the first image, the second row the second
            shown[source.degradation] = [("input", pair.degraded), *strip, ("clean", pair.clean)]
        if source.name in scored:
            guesses += _crop_guesses(model, pair.degraded, source.name)
    summary = {"passes": passes, **_summary(rows, measures, degrade, seed)}
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


def _measure(
    model: Abair,
    source: PairSource,
    pair: Pair,
    mode: str,
    passes: int,
    measures: Protocol,
    before: tuple[float, float],
) -> tuple[dict[str, Any], Tensor]:
    """One row of results, and the restored image; ``before`` are PSNR and SSIM of the degraded one."""
    if mode == "oracle" and source.name not in model.names:
        there = ", ".join(model.names)
        message = f"oracle needs an adapter named as the degradation '{source.name}'; there are: {there}"
        raise InputError(message)
    blend = source.name if mode == "oracle" else mode
    most = passes if mode in ESTIMATED_BLENDS else 1
    result = model.restore(pair.degraded, blend, with_labels=False, passes=most)
    after = measures.measure(result.restored, pair.clean)
    row: dict[str, Any] = {"image": source.image, "degradation": source.degradation, "draw": source.draw, "blend": mode}
    row |= dict(zip(("psnr_input", "ssim_input", "psnr", "ssim"), (*before, *after), strict=True))
    row |= {f"weight_{name}": weight for name, weight in result.weights.items()}
    if mode in BLIND_BLENDS:
        row["unknown"] = result.unknown
    if most > 1:
        row["passes"] = len(result.of_passes)
    return row, result.restored


def _crop_guesses(model: Abair, degraded: Tensor, name: str) -> list[bool]:
    """Whether the estimator names the degradation of each crop of an image right; crops overlap by half."""
    _, height, width = degraded.shape
    crops = [
        degraded[:, top : top + _CROP_PX, left : left + _CROP_PX]
        for top in range(0, height - _CROP_PX + 1, _CROP_PX // 2)
        for left in range(0, width - _CROP_PX + 1, _CROP_PX // 2)
    ]
    if not crops:
        return []
    with torch.inference_mode():
        guesses = model.estimate(torch.stack(crops))[0].argmax(dim=1).tolist()
    expected = 1 + model.names.index(name)
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
    """Means over the rows of one blend; of ``unknown``, where there is any, the share."""
    keys = ("psnr_input", "ssim_input", "psnr", "ssim", "unknown")
    return {key: sum(row[key] for row in rows) / len(rows) for key in keys if key in rows[0]}


def _write(output: Path, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_text(output / "results.json", json.dumps(summary, indent=2) + "\n")
    write_text(output / "results.csv", table.getvalue())
