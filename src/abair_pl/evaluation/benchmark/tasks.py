"""From a task to its images: the data set where it is there, else clean photographs that stand in for it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from abair_pl.data.shards.listing import Sample, list_samples
from abair_pl.errors import AbairError, InputError
from abair_pl.evaluation.benchmark.suite import Suite, Task
from abair_pl.evaluation.pairs import PairSource, check_draws, side_by_side
from abair_pl.evaluation.protocols import Protocol, named_protocol
from abair_pl.images import find_images


@dataclass(frozen=True)
class TaskImages:
    """A task with its images.

    Attributes:
        task: What was asked for.
        sources: The images, in their order.
        text: What they are, such as ``Rain100L (100 images)``.
        stands_in: Whether they stand in for the data set.
        protocol: How they are compared.
    """

    task: Task
    sources: list[PairSource]
    text: str
    stands_in: bool
    protocol: Protocol

    def key(self, source: PairSource) -> str:
        """A digest of all that shapes a measurement of an image, but for the method: files count by size and time."""
        files = [path.stat() for path in (source.clean, source.degraded) if path is not None]
        stamps = [(file.st_size, file.st_mtime_ns) for file in files]
        return hashlib.sha256(
            repr((source.image, source.degradation, source.seed, stamps, asdict(self.protocol))).encode()
        ).hexdigest()


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
        InputError: A degradation or a protocol is not known, or there are no photographs.
    """
    check_draws(1, suite.seed)
    paths = None if photos is None else find_images([photos])
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
                found[name] = _from_photographs(task, paths, protocol, suite.seed)
    return found, missing


def _named(name: str, task: Task) -> Protocol:
    try:
        for degradation in filter(None, (task.degrade, task.stand_in)):
            side_by_side(degradation)
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
    text = f"{task.dataset} ({count}{f', {task.degrade}' if task.degrade else ''})"
    return TaskImages(task, sources, text, bool(listing.note), protocol)


def _source(sample: Sample) -> PairSource:
    files: Mapping[str, Path] = {member.role: Path(member.path) for member in sample.members}
    return PairSource(sample.key, files.get("target") or files[""], files.get("input"))


def _from_photographs(task: Task, paths: list[Path], protocol: Protocol, seed: int) -> TaskImages:
    degradation = task.made_of_photographs or ""
    made = side_by_side(degradation)
    sources = [PairSource(path.stem, path, None, degradation, 0, seed, made) for path in paths]
    text = f"{len(paths)} photographs of {paths[0].parent.name} with {degradation}, seed {seed}"
    return TaskImages(task, sources, text, True, protocol)
