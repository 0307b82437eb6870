"""The manifest of a folder of shards: what is in it, and how to tell that it is whole."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from abair_pl.atomic import published
from abair_pl.errors import ShardError

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1
Kind = Literal["clean", "paired"]

NAMED_PAIRS = "pairs whose shards name their degradation: build them with abair-pl shards build --degradation NAME"
"""What goes together with photographs that the synthesizer degrades, for messages."""


@dataclass(frozen=True)
class ShardEntry:
    """One shard.

    Attributes:
        name: Its file name.
        samples: Number of samples in it.
        size_bytes: Its size.
        sha256: Its hash.
        too_small: Number of samples that were left out of it for their size.
        broken: Those that were left out because they could not be read, and why.
    """

    name: str
    samples: int
    size_bytes: int
    sha256: str
    too_small: int = 0
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes:
        layout: ``clean`` photographs, or ``paired`` inputs and targets.
        source_sha256: Digest of the list of source files and the settings, by which a resumed build knows its own.
        complete: False while a build is under way.
        shards: The shards, in order.
        version: Version of this format.
        dataset: Name of the folder structure that was read.
        split: Part of the data set.
        found: Number of samples that its folder had.
        expected: Number of samples that a whole folder has; None where that is not known.
        licence: What may be done with the images, in a line; empty where nobody has said.
        degradation: What the inputs of pairs show, by the name of its adapter; empty where nobody has said.
    """

    layout: Kind
    source_sha256: str
    complete: bool
    shards: list[ShardEntry] = field(default_factory=list)
    version: int = FORMAT_VERSION
    dataset: str = "clean"
    split: str = "all"
    found: int | None = None
    expected: int | None = None
    licence: str = ""
    degradation: str = ""

    @property
    def samples(self) -> int:
        """Number of samples in all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def too_small(self) -> int:
        """Number of samples that were left out for their size."""
        return sum(shard.too_small for shard in self.shards)

    @property
    def broken(self) -> list[str]:
        """Samples that were left out because they could not be read."""
        return [name for shard in self.shards for name in shard.broken]

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``, in one step."""
        with published(folder / MANIFEST_NAME) as partial:
            partial.write_text(json.dumps({**asdict(self), "samples": self.samples}, indent=2) + "\n")

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
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
            message = f"{path} is damaged ({error}); build the shards again with: abair-pl shards build"
            raise ShardError(message) from error


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
