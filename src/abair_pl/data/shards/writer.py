"""Write shards side by side, on one machine or many, so that they can be interrupted at any moment.

Which sample goes to which shard is settled before the first is written, so that neither the number of processes nor
that of machines matters. A shard gets its name when its bytes are on disk; what is in it is then noted in a journal of
this part, ``.build/<part>.jsonl`` in the output folder, to which nobody else writes. The part that finds all shards
done writes the manifest from all journals, and removes them; a lock keeps others from the manifest meanwhile.
"""

import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from abair_pl.atomic import locked, published, remove_partials
from abair_pl.data.manifest import MANIFEST_NAME, Manifest, ShardEntry, file_sha256
from abair_pl.data.shards.parallel import in_processes
from abair_pl.errors import AbairError, ShardError

Item = TypeVar("Item")
_BUILD = ".build"


@dataclass(frozen=True)
class Content:
    """What becomes of a photograph or pair: members by name, of one sample or of several, or why it is left out.

    Attributes:
        members: File names in the shard, and bytes.
        too_small: Left out for its size.
        broken: Left out for this reason.
    """

    members: list[tuple[str, bytes]] = field(default_factory=list)
    too_small: bool = False
    broken: str = ""

    @property
    def samples(self) -> int:
        """How many samples the members are of, by what readers take for their keys."""
        return len({name.partition(".")[0] for name, _ in self.members})


@dataclass(frozen=True)
class Part:
    """One of several shares of the shards, each for a machine.

    Attributes:
        number: From 1.
        count: How many there are.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read ``3/64``.

        Raises:
            ShardError: It is not of this form, or out of range.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            message = f"part is '{text}'; expected its number and how many there are, from 1/64 to 64/64"
            raise ShardError(message)
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class _Job(Generic[Item]):
    path: Path
    items: Sequence[Item]


def write_shards(
    output: Path,
    groups: Sequence[Sequence[Item]],
    render: Callable[[Item], Content],
    header: Manifest,
    workers: int = 0,
    part: Part = Part(),
) -> Manifest:
    """Write one shard for each group that has none yet, and the manifest when there are all of them.

    Args:
        output: Folder for the shards; they are called after it.
        groups: What goes into each shard.
        render: Makes the members of a sample; must be importable, and give the same bytes each time.
        header: The manifest without shards; its digest tells this build from others.
        workers: Processes; 0 for one a core.
        part: The share of the shards to write.

    Returns:
        The manifest, complete or with the shards that are there so far.

    Raises:
        ShardError: The output holds another build.
        AbairError: It cannot be written to.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with locked(output, tidy=True):
            _claim(output, header)
        paths = [output / f"{output.absolute().name}-{index:06d}.tar" for index in range(len(groups))]
        done = _done(output, header)
        mine = range(part.number - 1, len(groups), part.count)
        jobs = [_Job(paths[index], groups[index]) for index in mine if not _is_whole(paths[index], done)]
        remove_partials(output, {job.path.name for job in jobs})
        with tqdm(total=len(mine), initial=len(mine) - len(jobs), unit="shard", desc="shards") as progress:
            for entry in in_processes(partial(_write_shard, render), jobs, workers):
                _note(output, header, part, entry)
                progress.update()
        with locked(output, tidy=True):
            return _finish(output, header, paths)
    except OSError as error:
        message = f"{output}: cannot be written ({error}); make room or choose another --output, and run it again"
        raise AbairError(message) from error


def _claim(output: Path, header: Manifest) -> None:
    """Mark a folder as this build's, unless it is another's."""
    has_shards = any(output.glob("*.tar"))
    if has_shards or (output / MANIFEST_NAME).exists():
        found = Manifest.read(output)
        if found.source_sha256 == header.source_sha256:
            return
        if has_shards or found.complete:
            message = f"{output} holds shards of other files or settings; choose another --output or empty it"
            raise ShardError(message)
    header.write(output)


def _done(output: Path, header: Manifest) -> dict[str, ShardEntry]:
    """The shards that journals and the manifest tell of, by name."""
    entries: dict[str, ShardEntry] = {}
    for journal in sorted((output / _BUILD).glob("*.jsonl")):
        with suppress(FileNotFoundError):  # another part has just completed the manifest, which is read below
            for line in journal.read_text().splitlines():
                with suppress(ValueError):  # the last line of a process that was killed
                    digest, values = json.loads(line)
                    if digest == header.source_sha256:
                        entries[values["name"]] = ShardEntry(**values)
    return {entry.name: entry for entry in Manifest.read(output).shards} | entries


def _is_whole(path: Path, done: dict[str, ShardEntry]) -> bool:
    with suppress(FileNotFoundError):
        return path.name in done and path.stat().st_size == done[path.name].size_bytes
    return False


def _write_shard(render: Callable[[Item], Content], job: _Job[Item]) -> ShardEntry:
    """Write one shard, from nothing but its samples: no owner, no time."""
    samples = too_small = 0
    broken = []
    with published(job.path) as path:
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="utf-8") as archive:
            for item in job.items:
                content = render(item)
                samples += content.samples
                too_small += content.too_small
                broken += [content.broken] if content.broken else []
                for name, data in content.members:
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    archive.addfile(entry, BytesIO(data))
        size_bytes, sha256 = path.stat().st_size, file_sha256(path)
    return ShardEntry(job.path.name, samples, size_bytes, sha256, too_small, broken)


def _note(output: Path, header: Manifest, part: Part, entry: ShardEntry) -> None:
    """Add a line to this part's journal, on a new line even after half of one."""
    journal = output / _BUILD / f"{part.number:06d}-of-{part.count:06d}.jsonl"
    journal.parent.mkdir(exist_ok=True)
    with journal.open("a") as stream:
        stream.write(f"\n{json.dumps([header.source_sha256, asdict(entry)])}\n")
        stream.flush()
        os.fsync(stream.fileno())


def _finish(output: Path, header: Manifest, paths: list[Path]) -> Manifest:
    """Complete the manifest if all shards are there; parts that finish together do so one after the other."""
    done = _done(output, header)
    shards = [done[path.name] for path in paths if _is_whole(path, done)]
    manifest = replace(header, complete=len(shards) == len(paths), shards=shards)
    if manifest.complete:
        manifest.write(output)
        remove_partials(output, {MANIFEST_NAME, *(path.name for path in paths)})
        shutil.rmtree(output / _BUILD, ignore_errors=True)
    return manifest
