"""The manifest of a folder of shards: what is in it, and how to tell that it is whole."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import braceexpand

from abair_pl.errors import ShardError

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
Layout = Literal["clean", "paired"]


@dataclass(frozen=True)
class ShardEntry:
    """One shard: its file name, number of samples, size in bytes, and sha256."""

    name: str
    samples: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes:
        layout: ``clean`` photographs, or ``paired`` inputs and targets.
        source_sha256: Digest of the list of source files and the settings, by which a resumed build knows its own.
        complete: False while a build is under way.
        shards: The shards, in order.
        version: Version of this format.
    """

    layout: Layout
    source_sha256: str
    complete: bool
    shards: list[ShardEntry] = field(default_factory=list)
    version: int = FORMAT_VERSION

    @property
    def samples(self) -> int:
        """Number of samples in all shards."""
        return sum(shard.samples for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``, in one step."""
        partial = folder / f".{MANIFEST_NAME}.partial"
        partial.write_text(json.dumps({**asdict(self), "samples": self.samples}, indent=2) + "\n")
        os.replace(partial, folder / MANIFEST_NAME)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read ``manifest.json``.

        Raises:
            ShardError: It is missing, damaged or of another version.
        """
        path = folder / MANIFEST_NAME
        try:
            values = json.loads(path.read_text())
            if values["version"] != FORMAT_VERSION:
                message = (
                    f"{path} has version {values['version']}; expected {FORMAT_VERSION}: read the shards with the "
                    "abair-pl that built them, or build them again with: abair-pl shards build"
                )
                raise ShardError(message)
            values.pop("samples")
            entries = [ShardEntry(**entry) for entry in values.pop("shards")]
            return cls(shards=entries, **values)
        except FileNotFoundError:
            message = f"{folder} has no {MANIFEST_NAME}; make it with: abair-pl shards build"
            raise ShardError(message) from None
        except (ValueError, KeyError, TypeError) as error:
            message = f"{path} is damaged ({error}); build the shards again with: abair-pl shards build"
            raise ShardError(message) from error


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def expand_shards(sources: str | list[str]) -> list[str]:
    """The shards that a setting stands for.

    Args:
        sources: A folder of ``.tar`` files, a path or URL with braces such as ``gld-{000000..000999}.tar``, or a list
            of these.

    Returns:
        Paths or URLs, in order.

    Raises:
        ShardError: None is given, a folder has no shard, a file does not exist, or braces do not match.
    """
    given = [sources] if isinstance(sources, str) else sources
    if not given or not all(given):
        message = f"no shards given in {sources!r}; expected a folder, a path with braces, or a list of these"
        raise ShardError(message)
    shards: list[str] = []
    for source in given:
        folder = Path(source)
        if folder.is_dir():
            found = sorted(str(path) for path in folder.glob("*.tar"))
            if not found:
                message = f"{source} has no .tar file; make shards with: abair-pl shards build --output {source}"
                raise ShardError(message)
            shards += found
            continue
        for name in _expand_braces(source):
            if name.startswith("pipe:"):
                message = f"{name} would run a shell command; expected a .tar file, a folder of them, or a URL"
                raise ShardError(message)
            if "://" not in name and not Path(name).is_file():
                message = f"no shard at {name}; expected a .tar file, a folder of them, or a URL"
                raise ShardError(message)
            shards.append(name)
    return shards


def _expand_braces(source: str) -> list[str]:
    try:
        return list(braceexpand.braceexpand(source))
    except ValueError as error:
        message = f"{source} has unbalanced braces; expected them in pairs, such as gld-{{000000..000999}}.tar"
        raise ShardError(message) from error


def count_samples(shards: list[str]) -> int:
    """Number of samples in shards that lie beside their manifests.

    Raises:
        ShardError: A shard is not listed in the manifest of its folder, or that build is not complete.
    """
    total = 0
    manifests: dict[Path, Manifest] = {}
    for shard in shards:
        path = Path(shard)
        if path.parent not in manifests:
            manifests[path.parent] = Manifest.read(path.parent)
        manifest = manifests[path.parent]
        counts = {entry.name: entry.samples for entry in manifest.shards}
        if not manifest.complete or path.name not in counts:
            message = f"{path} is not in a complete {MANIFEST_NAME}; finish with: abair-pl shards build"
            raise ShardError(message)
        total += counts[path.name]
    return total


def shard_layout(shards: list[str]) -> Layout:
    """The layout of shards by the manifest beside the first one; ``clean`` where there is none to read."""
    folder = Path(shards[0]).parent
    return Manifest.read(folder).layout if (folder / MANIFEST_NAME).is_file() else "clean"
