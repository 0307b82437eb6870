"""What a benchmark found: a record an image and method, and the means that tables and figures show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import fsum, nan

from torch import Tensor

from abair_pl.evaluation.suite import Suite


@dataclass(frozen=True)
class Record:
    """One image restored by one method.

    Attributes:
        task: The task's short name.
        method: The method's short name.
        image: Name of the image within the task.
        psnr_input: Of the degraded image, in dB.
        ssim_input: Of the degraded image.
        psnr: Of the restored image, in dB.
        ssim: Of the restored image.
        weights: The weight of each adapter.
        unknown: Whether the estimator found the damage unlike any adapter; None where it was not asked.
        seconds: What the restoration took; differs from run to run and is printed, but in no report.
        megapixels: Size of the image, in 10^6 pixels.
    """

    task: str
    method: str
    image: str
    psnr_input: float
    ssim_input: float
    psnr: float
    ssim: float
    weights: dict[str, float]
    unknown: bool | None
    seconds: float
    megapixels: float


@dataclass(frozen=True)
class Score:
    """Means over images, or over tasks.

    Attributes:
        psnr: In dB.
        ssim: In [-1, 1].
        count: Of images, or of tasks.
    """

    psnr: float
    ssim: float
    count: int


@dataclass(frozen=True)
class Results:
    """All of a benchmark.

    Attributes:
        suite: What was asked for.
        records: By task, method and image, in the order of the suite.
        sources: By task, what it was measured on, such as ``100 images of Rain100L``, in the suite's order.
        stand_ins: Tasks whose images are not those of the published figures, or not all of them.
        skipped: By task or method, why it was left out.
        protocols: By task, what :class:`~abair_pl.evaluation.protocols.Protocol` says of itself.
        facts: About the bundles and the run, such as ``{"bundle main": "tiny, 2.5 M parameters, ..."}``.
        parameters: By method, how many numbers its model has.
    """

    suite: Suite
    records: Sequence[Record]
    sources: Mapping[str, str]
    stand_ins: frozenset[str] = frozenset()
    skipped: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)

    def of(self, task: str, method: str) -> list[Record]:
        """The records of a task and a method."""
        return self._by_cell.get((task, method), [])

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str], list[Record]]:
        cells: dict[tuple[str, str], list[Record]] = {}
        for record in self.records:
            cells.setdefault((record.task, record.method), []).append(record)
        return cells

    def score(self, task: str, method: str) -> Score | None:
        """The mean over the images of a task; None where nothing was measured."""
        return _mean([(record.psnr, record.ssim) for record in self.of(task, method)])

    def input_score(self, task: str) -> Score | None:
        """The mean of the degraded images of a task; None where nothing was measured."""
        found = next((found for method in self.suite.methods if (found := self.of(task, method))), [])
        return _mean([(record.psnr_input, record.ssim_input) for record in found])

    def average(self, method: str) -> Score | None:
        """The mean over all tasks of the suite; None where one of them was not measured."""
        return _average([self.score(task, method) for task in self.suite.tasks])

    def seconds_per_megapixel(self, method: str) -> float:
        """What restoring took on average; NaN where nothing was measured."""
        mine = [record for record in self.records if record.method == method]
        pixels = fsum(record.megapixels for record in mine)
        return fsum(record.seconds for record in mine) / pixels if pixels else nan

    def input_average(self) -> Score | None:
        """As :meth:`average`, of the degraded images."""
        return _average([self.input_score(task) for task in self.suite.tasks])


def _average(scores: Sequence[Score | None]) -> Score | None:
    present = [(score.psnr, score.ssim) for score in scores if score is not None]
    return _mean(present) if len(present) == len(scores) else None


def _mean(values: Sequence[tuple[float, float]]) -> Score | None:
    if not values:
        return None
    psnr, ssim = (fsum(kind) / len(values) for kind in zip(*values, strict=True))
    return Score(psnr, ssim, len(values))


@dataclass(frozen=True)
class Example:
    """One image with what the methods make of it, to be looked at.

    Attributes:
        task: The task's short name.
        image: Name of the image within the task.
        kind: ``worst``, ``median`` or ``best``, by what the suite's main method gains over the input.
        degraded: ``(3, H, W)`` in [0, 1].
        clean: The same shape.
        restored: By method, the same shape.
        psnr: In dB by the task's protocol, of ``input`` and of each method.
    """

    task: str
    image: str
    kind: str
    degraded: Tensor
    clean: Tensor
    restored: Mapping[str, Tensor]
    psnr: Mapping[str, float]
