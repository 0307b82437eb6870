"""Pictures of what degradations do, built-in ones or one's own, to any photograph."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageOps
from torch import Tensor

from abair_pl.degradations import BUILT_IN, AnyDegradation, Composite, Degradation, Synthesizer
from abair_pl.evaluation.figures import captioned_grid, centered, with_legend
from abair_pl.evaluation.protocols import PROTOCOLS
from abair_pl.images import to_8bit
from abair_pl.palette import paint_labels

SEVERITIES = (0.1, 0.5, 0.9)
_CELL_PX = (264, 176)
_SAMPLE_PX = (312, 208)


def every_operator() -> list[Degradation]:
    """One operator of each kind of each built-in degradation."""
    return [operator() for kinds in BUILT_IN.values() for operator in kinds]


def severity_sheet(
    rows: Sequence[tuple[AnyDegradation, Tensor]],
    severities: Sequence[float] = SEVERITIES,
    seed: int = 0,
    cell_px: tuple[int, int] = _CELL_PX,
) -> Image.Image:
    """A row for each degradation: the photograph, then degraded at each severity, with the PSNR of luma.

    All of a row is drawn from one seed, so that it shows what the severity alone does.

    Args:
        rows: Degradations, each with a photograph ``(3, H, W)`` in [0, 1].
        severities: Positions in each degradation's range of severities, within [0, 1].
        seed: Of all rows.
        cell_px: Width and height of the middle of the image that is shown, pixel for pixel.
    """
    drawn = []
    for degradation, photograph in rows:
        row = [(_title(degradation), photograph)]
        for severity in severities:
            *_, (_, degraded) = _stages(degradation, photograph, severity, seed)
            row.append((f"severity {severity:g}, {_decibels(degraded, photograph)}", degraded))
        drawn.append(row)
    return _sheet(drawn, cell_px)


def composite_sheet(
    rows: Sequence[tuple[Composite, Tensor]],
    severity: float = 0.5,
    seed: int = 0,
    cell_px: tuple[int, int] = _CELL_PX,
) -> Image.Image:
    """A row for each composite: the photograph, then the image after each of its members, with the PSNR of luma.

    Args:
        rows: Composites, each with a photograph ``(3, H, W)`` in [0, 1].
        severity: Position in each member's range of severities, within [0, 1].
        seed: Of all rows.
        cell_px: Width and height of the middle of the image that is shown, pixel for pixel.
    """
    drawn = []
    for composite, photograph in rows:
        row = [(composite.name, photograph)]
        for title, degraded in _stages(composite, photograph, severity, seed):
            row.append((f"{'then ' * (len(row) > 1)}{title}, {_decibels(degraded, photograph)}", degraded))
        drawn.append(row)
    return _sheet(drawn, cell_px)


def cutmix_sheet(
    synthesizer: Synthesizer,
    photographs: Tensor,
    seeds: Tensor,
    columns: int = 2,
    cell_px: tuple[int, int] = _SAMPLE_PX,
) -> Image.Image:
    """Samples as phase I sees them: degraded photographs beside their label maps, and what the colours stand for.

    Args:
        synthesizer: Draws and makes them.
        photographs: ``(B, 3, H, W)`` in [0, 1].
        seeds: ``(B,)`` int64, one for each.
        columns: Samples side by side.
        cell_px: Width and height of what each whole image is made to fit into.
    """
    made = synthesizer(photographs, synthesizer.plan(seeds))
    names = ["clean", *synthesizer.names]
    cells = []
    for degraded, labels, shares in zip(made.degraded, made.labels, made.shares, strict=True):
        size = ImageOps.contain(to_8bit(degraded), cell_px).size
        caption = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, shares, strict=True) if share >= 0.005)
        cells.append(("degraded", to_8bit(degraded).resize(size, Image.Resampling.LANCZOS)))
        cells.append((caption, Image.fromarray(paint_labels(labels)).resize(size, Image.Resampling.NEAREST)))
    rows = [cells[start : start + 2 * columns] for start in range(0, len(cells), 2 * columns)]
    return with_legend(captioned_grid(rows, cell_px), names)


def _stages(degradation: AnyDegradation, photograph: Tensor, severity: float, seed: int) -> list[tuple[str, Tensor]]:
    """What each operator leaves, ``(3, H, W)``, by its title."""
    synthesizer = Synthesizer.only(degradation)
    plan = synthesizer.plan(torch.tensor([seed]), synthesizer.sources[-1], (severity, severity))
    image, stages = photograph[None], []
    for step in plan.steps:
        image = step.operator.apply(image, step.parameters)
        stages.append((_title(step.operator), image[0]))
    return stages


def _title(degradation: AnyDegradation) -> str:
    kind = degradation.kind if isinstance(degradation, Degradation) else ""
    return f"{degradation.name}: {kind}" if kind else degradation.name


def _decibels(image: Tensor, reference: Tensor) -> str:
    return f"{PROTOCOLS['y'].measure(image, reference)[0]:.1f} dB"


def _sheet(rows: Sequence[Sequence[tuple[str, Tensor]]], cell_px: tuple[int, int]) -> Image.Image:
    pictures = [[(caption, to_8bit(centered(image, cell_px))) for caption, image in row] for row in rows]
    return captioned_grid(pictures, cell_px)
