"""A photograph on the page: from a file or an example to what is shown and downloaded, and the files of both."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from abair_pl.app.examples import Example
from abair_pl.app.handlers import Finding, Limits, at_strength, find, read_upload, restore_by
from abair_pl.images import Photograph, write_photograph
from abair_pl.restore import Abair


@dataclass(frozen=True, eq=False)  # told apart by identity: tensors have no single answer
class Opened:
    """A photograph that is worked on.

    Attributes:
        photograph: As it was read.
        weights: Those in force, by name.
        restored: ``(3, H, W)`` RGB in [0, 1], by these weights.
        before: A PNG of the photograph.
        after: A PNG of what is shown as restored.
    """

    photograph: Photograph
    weights: Mapping[str, float]
    restored: Tensor
    before: Path
    after: Path


@dataclass(frozen=True)
class Desk:
    """Opens photographs and works on them.

    Args:
        model: The bundle, ready to restore.
        limits: What may be uploaded.
        folder: For the files that are shown.
    """

    model: Abair
    limits: Limits
    folder: Path

    def open_file(self, path: Path) -> tuple[Opened, Finding]:
        """Open an uploaded file.

        Raises:
            ImageError: It is no image, or out of the limits.
        """
        return self._open(read_upload(path, self.limits), path.stem)

    def open_example(self, example: Example) -> tuple[Opened, Finding]:
        """Open an example."""
        return self._open(Photograph(example.pixels), example.name)

    def reweigh(self, opened: Opened, weights: Mapping[str, float], strength: float) -> Opened:
        """Restore by other weights; by the same, nothing happens."""
        if weights == opened.weights:
            return opened
        restored = restore_by(self.model, opened.photograph, weights)
        return self._shown(replace(opened, weights=weights, restored=restored), strength)

    def fade(self, opened: Opened, strength: float) -> Opened:
        """Show the restored photograph at another strength, without restoring it anew."""
        return self._shown(opened, strength)

    def _open(self, photograph: Photograph, name: str) -> tuple[Opened, Finding]:
        finding = find(self.model, photograph)
        before = self._new_file(f"{name}.png")
        write_photograph(photograph, before)
        after = self._new_file(f"{name}-restored.png")
        return self._shown(Opened(photograph, finding.weights, finding.restored, before, after), 1.0), finding

    def _shown(self, opened: Opened, strength: float) -> Opened:
        """Write what is shown under a new address, since a browser keeps what it has loaded."""
        after = self._new_file(opened.after.name)
        write_photograph(at_strength(opened.photograph, opened.restored, strength), after)
        shutil.rmtree(opened.after.parent, ignore_errors=True)
        opened.before.touch()  # what nobody uses is swept away
        return replace(opened, after=after)

    def _new_file(self, name: str) -> Path:
        folder = self.folder / uuid4().hex
        folder.mkdir()
        return folder / name
