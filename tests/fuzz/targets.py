"""What is fuzzed: each target makes an input of a seed, and hands it to the functions that the commands use."""

import contextlib
import io
import json
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from PIL import Image
from tests.fuzz.corpus import archives, make_bundle, photographs
from tests.fuzz.file_formats import json_value, tar_block, tar_header, tensors_header, tensors_values
from tests.fuzz.image_formats import AWARE
from tests.fuzz.mutate import mutated

from abair_pl.data.decode import decode_sample
from abair_pl.data.manifest import file_sha256
from abair_pl.data.streaming.archive import read_samples
from abair_pl.errors import ImageError
from abair_pl.restore import Abair
from abair_pl.restoring.inputs import Job
from abair_pl.restoring.photographs import Settings, restore_photograph

_TILE_PX, _OVERLAP_PX = 2048, 64
"""A header may make a small file a strip of 30,000 pixels, which would be hundreds of tiles of the usual overlap."""

_SIGNED = 0.8
_BLENDS = ("soft", "one_hot", "pixel", "none")


@dataclass(frozen=True)
class Case:
    """An input: the bytes of a file, and its name."""

    name: str
    data: bytes


class Target(ABC):
    """Something that reads files.

    Args:
        folder: Where its input and what it needs are put.

    Attributes:
        output: The only folder that it may write to; what reads alone has none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def make(self, random: Random) -> Case:
        """An input."""

    @abstractmethod
    def place(self, case: Case, random: Random) -> None:
        """Put an input where :meth:`run` finds it."""

    @abstractmethod
    def run(self, random: Random) -> None:
        """Read it; AbairError is how it may be refused."""

    @abstractmethod
    def faults(self, accepted: bool) -> list[str]:
        """What is wrong with the files that were left, which are removed."""


class RestoreTarget(Target):
    """``abair-pl restore`` of one photograph."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seeds = photographs()
        make_bundle(folder / "bundle")
        self.model = Abair.from_pretrained(folder / "bundle", "cpu", _TILE_PX, _OVERLAP_PX)
        self.output.mkdir(exist_ok=True)

    def make(self, random: Random) -> Case:
        name = random.choice(list(self.seeds))
        return Case(name, mutated(self.seeds[name], random, AWARE[name.partition(".")[2]]))

    def place(self, case: Case, random: Random) -> None:
        self.source = self.folder / case.name
        self.source.write_bytes(case.data)

    def run(self, random: Random) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            job = Job(self.source, self.output / "restored.png")
            restore_photograph(self.model, job, Settings(blend=random.choice(_BLENDS)))

    def faults(self, accepted: bool) -> list[str]:
        self.source.unlink()
        found = [path.name for path in self.output.iterdir()]
        if found != (["restored.png"] if accepted else []):
            return [f"left {found}"]
        if accepted:
            with Image.open(self.output / "restored.png") as image:
                image.load()
            (self.output / "restored.png").unlink()
        return []


class ShardTarget(Target):
    """The reading of one shard, whose broken images are left out as in training."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seeds = archives()

    def make(self, random: Random) -> Case:
        name = random.choice(list(self.seeds))
        return Case(name, mutated(self.seeds[name], random, (tar_header, tar_header, tar_block)))

    def place(self, case: Case, random: Random) -> None:
        self.shard = self.folder / case.name
        self.shard.write_bytes(case.data)

    def run(self, random: Random) -> None:
        for sample in read_samples([str(self.shard)]):
            with contextlib.suppress(ImageError):
                decode_sample(sample)

    def faults(self, accepted: bool) -> list[str]:
        self.shard.unlink()
        left = list(self.folder.iterdir())
        return [f"left {left}"] if left else []


class BundleTarget(Target):
    """The opening of a bundle and, if it is accepted, the restoring of one image with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clean, self.path = folder / "clean", folder / "bundle"
        make_bundle(self.clean)
        shutil.copytree(self.clean, self.path)
        entries = (file for file in self.clean.rglob("*") if file.suffix in (".json", ".safetensors"))
        self.names = sorted(str(file.relative_to(self.clean)) for file in entries)
        self.image = torch.linspace(0.0, 1.0, 3 * 16 * 16).view(1, 3, 16, 16)

    def make(self, random: Random) -> Case:
        name = random.choice(["config.json", *self.names])
        aware = (json_value,) if name.endswith(".json") else (tensors_header, tensors_header, tensors_values)
        return Case(name, mutated((self.clean / name).read_bytes(), random, aware))

    def place(self, case: Case, random: Random) -> None:
        self.changed = case.name
        (self.path / case.name).write_bytes(case.data)
        if case.name != "config.json" and random.random() < _SIGNED:
            self._sign()

    def run(self, random: Random) -> None:
        model = Abair.from_pretrained(self.path, "cpu")
        weights, _ = model.weights(self.image, "soft")
        model.restore_tensor(self.image, weights)

    def _sign(self) -> None:
        """Give the changed file its digest in the configuration, as who makes a whole bundle would."""
        values = json.loads((self.path / "config.json").read_text())
        digest = file_sha256(self.path / self.changed)
        if self.changed.startswith("adapters/"):
            _, adapter, name = self.changed.split("/")
            values["adapter_files"][adapter][name] = digest
            if adapter in values["estimated"] and name.endswith(".safetensors"):
                values["estimated"][adapter] = digest
        else:
            values[f"{self.changed.removesuffix('.safetensors')}_sha256"] = digest
        (self.path / "config.json").write_text(json.dumps(values))

    def faults(self, accepted: bool) -> list[str]:
        for name in {"config.json", self.changed}:
            shutil.copyfile(self.clean / name, self.path / name)
        names = {str(file.relative_to(self.path)) for file in self.path.rglob("*")}
        expected = {str(file.relative_to(self.clean)) for file in self.clean.rglob("*")}
        return [f"left {sorted(names ^ expected)}"] if names != expected else []


TARGETS: dict[str, type[Target]] = {"restore": RestoreTarget, "shards": ShardTarget, "bundle": BundleTarget}
