"""From a task to its images: the data set where it is there, else clean photographs that stand in for it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from abair_pl.data.manifest import file_sha256
from abair_pl.data.shards.layouts import find_layout, find_split
from abair_pl.data.shards.listing import Sample, list_samples
from abair_pl.errors import AbairError, ImageError, InputError
from abair_pl.evaluation.pairs import PairSource, by_stem, check_draws, side_by_side
from abair_pl.evaluation.protocols import Protocol, named_protocol
from abair_pl.evaluation.suite import Suite, Task


@dataclass(frozen=True)
class TaskImages:
    """A task with its images.

    Attributes:
        task: What was asked for.
        sources: The images, in their order.
        text: What they are, such as ``100 images of Rain100L``.
        stands_in: Whether they are not the images of the published figures, or not all of them.
        protocol: How they are compared.
        reason: Why photographs stand in for the data set; empty where they do not.
    """

    task: Task
    sources: list[PairSource]
    text: str
    stands_in: bool
    protocol: Protocol
    reason: str = ""

    @property
    def made(self) -> str:
        """The degradation that is made here; empty for real pairs as they are."""
        return self.sources[0].name

    def key(self, source: PairSource) -> str:
        """A digest of all that shapes a measurement of an image, but for the method; files count by their bytes.

        Raises:
            ImageError: A file cannot be read.
        """
        digests = [_sha256(file) for file in source.files]
        parts = (source.image, source.degradation, source.seed, digests, asdict(self.protocol))
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@cache
def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        message = f"{file}: cannot be read ({error.strerror}); mend it, or remove it and run the same command again"
        raise ImageError(message) from error


def find_tasks(
    suite: Suite, data: Path | None, photos: Path | None, allow_partial: bool
) -> tuple[dict[str, TaskImages], dict[str, str]]:
    """The images of each task, and why there are none for others.

    Args:
        suite: What is to be measured.
        data: The folder of the data sets.
        photos: Clean photographs, for tasks whose data set is not there.
        allow_partial: Accept data sets that have not all their images.

    Raises:
        InputError: A layout, a degradation or a protocol is not known, or no task has images.
    """
    check_draws(1, suite.seed)
    paths = None if photos is None else list(by_stem(photos).values())
    found, missing = {}, {}
    for name, task in suite.tasks.items():
        protocol = _named(name, task)
        try:
            if data is None:
                message = f"no --data to look for {task.root} in"
                raise InputError(message)
            found[name] = _from_data_set(task, data, protocol, suite.seed, allow_partial)
        except AbairError as error:
            if paths is None or task.made_of_photographs is None:
                missing[name] = str(error)
            else:
                found[name] = _from_photographs(task, paths, protocol, suite.seed, str(error))
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        message = f"no task of '{suite.title}' has images ({reasons}); expected --data with data sets, or --photos"
        raise InputError(message)
    return found, missing


def _named(name: str, task: Task) -> Protocol:
    try:
        for degradation in filter(None, (task.degrade, task.stand_in)):
            side_by_side(degradation)
        find_split(find_layout(task.layout)[0], task.split)
        return named_protocol(task.protocol)
    except InputError as error:
        message = f"task {name}: {error}"
        raise InputError(message) from error


def _from_data_set(task: Task, data: Path, protocol: Protocol, seed: int, allow_partial: bool) -> TaskImages:
    root = data / task.root
    if not root.is_dir():
        message = f"no folder {root}; expected {task.dataset} there"
        raise InputError(message)
    listing = list_samples(root, task.layout, task.split, allow_partial)
    samples = [sample for sample in listing.samples if sample.key.startswith(task.only)]
    if not samples:
        message = f"{root} has no image whose name starts with '{task.only}'"
        raise InputError(message)
    made = None if task.degrade is None else side_by_side(task.degrade)
    sources = [_source(sample) for sample in samples]
    if made is not None:
        sources = [replace(source, degradation=task.degrade or "", seed=seed, side_by_side=made) for source in sources]
    elif sources[0].degraded is None:
        message = f"{task.dataset} has clean photographs only; expected degrade in the suite, such as noise:sigma=25"
        raise InputError(message)
    count = f"{len(samples)} images" if not listing.note else f"{len(samples)} of {listing.expected} images"
    text = f"{count} of {task.dataset}{f' with {task.degrade}' if task.degrade else ''}"
    text += "" if task.comparable else ", which need not be those of the paper"
    return TaskImages(task, sources, text, bool(listing.note) or not task.comparable, protocol)


def _source(sample: Sample) -> PairSource:
    files: Mapping[str, Path] = {member.role: Path(member.path) for member in sample.members}
    return PairSource(sample.key, files.get("target") or files[""], files.get("input"))


def _from_photographs(task: Task, paths: list[Path], protocol: Protocol, seed: int, reason: str) -> TaskImages:
    degradation = task.made_of_photographs or ""
    made = side_by_side(degradation)
    sources = [PairSource(path.stem, path, None, degradation, 0, seed, made) for path in paths]
    text = f"{len(paths)} photographs of {paths[0].parent} with {degradation}, seed {seed}, in place of {task.dataset}"
    return TaskImages(task, sources, text, True, protocol, reason)
