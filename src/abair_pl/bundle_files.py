"""The files of a bundle: that each lies in it, and is the one that ``config.json`` names."""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from abair_pl.atomic import aside, replacing, scratch
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError

CONFIG_FILE = "config.json"
BACKBONE_FILE = "backbone.safetensors"
ESTIMATOR_FILE = "estimator.safetensors"

Digests = Mapping[str, str]
"""The sha256 of each file of a part of a bundle, by its name in the part's folder; a part that is a file has ``""``."""


def reason(found: object) -> str:
    """What an error says, or a file holds, in one line that does nothing to a terminal."""
    text = " ".join(str(found).split())
    return "".join(letter if letter.isprintable() else "?" for letter in text) or type(found).__name__


def check_file(bundle: Path, file: Path) -> None:
    """Refuse what is no file of a bundle, before it is opened: opening a pipe would wait for ever.

    Args:
        bundle: The bundle's directory.
        file: One of its files.

    Raises:
        BundleError: It is missing, is no plain file, or is a link to somewhere outside of the bundle.
    """
    if not os.path.lexists(file):
        message = f"{file} is missing; copy the whole bundle, or train it again"
        raise BundleError(message)
    if not file.resolve().is_relative_to(bundle.resolve()):
        message = f"{file} leads out of the bundle, to {file.resolve()}; expected a file in it: copy it without links"
        raise BundleError(message)
    if not file.is_file():
        message = f"{file} is no file; copy the whole bundle, or train it again"
        raise BundleError(message)


def check_part(bundle: Path, part: Path, digests: Digests) -> None:
    """Refuse a part of a bundle that is not the one of the configuration.

    Raises:
        BundleError: As :func:`check_file`, or a file has another digest.
    """
    for name, expected in digests.items():
        file = part / name
        check_file(bundle, file)
        try:
            found = file_sha256(file)
        except OSError as error:
            message = f"{file} cannot be read ({error.strerror}); copy the whole bundle, or train it again"
            raise BundleError(message) from error
        if found != expected:
            message = (
                f"{file} has sha256 {found[:12]}, config.json expects {reason(expected[:12])}; copy or train it again"
            )
            raise BundleError(message)


def standing(bundle: Path, part: Path, digests: Digests) -> Path:
    """Where a part of a bundle is: at its name, unless a process was killed while it replaced the part.

    Then what ``config.json`` names is still where :func:`abair_pl.atomic.replacing` has put it.
    """
    before = aside(part)
    if digests and os.path.lexists(before) and not _is_right(bundle, part, digests):
        return before if _is_right(bundle, before, digests) else part
    return part


def settle(bundle: Path, part: Path, digests: Digests) -> None:
    """Undo or finish what a process did that was killed while it replaced a part.

    The part that ``config.json`` names gets its name, and another is removed; if neither is, both are left. The bundle
    must be held for writing.
    """
    before = aside(part)
    if not digests or not os.path.lexists(before):
        return
    surplus = part if standing(bundle, part, digests) == before else before
    if surplus == before and not _is_right(bundle, part, digests):
        return
    with scratch(part) as folder:
        if os.path.lexists(surplus):
            os.replace(surplus, folder / part.name)
        if surplus == part:
            os.replace(before, part)


def copy_bundle(base: Path, path: Path) -> None:
    """Copy a bundle, without hidden files and what links lead to outside of it; ``config.json`` comes last.

    Links to folders, which may go round in circles, are followed where they are adapters only. Files that an
    interrupted copy has left are replaced. The copy can be written to, whether or not the bundle can.
    """
    inside = base.resolve()

    def is_copied(entry: Path) -> bool:
        if entry.name.startswith(".") or not entry.resolve().is_relative_to(inside):
            return False
        if entry.is_dir():
            return not entry.is_symlink() or entry.parent == base / "adapters"
        return entry.is_file()

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if not is_copied(Path(folder, name))]

    path.mkdir(parents=True, exist_ok=True)
    with scratch(path) as folder:
        mode = folder.stat().st_mode
        shutil.copytree(base, folder, dirs_exist_ok=True, ignore=left_out, copy_function=shutil.copyfile)
        for made in (folder, *filter(Path.is_dir, folder.rglob("*"))):
            made.chmod(mode)
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == CONFIG_FILE):
            with replacing(entry, path / entry.name):
                pass


def digests_of(part: Path, names: Iterable[str]) -> dict[str, str]:
    """The sha256 of the files of these names of a part.

    Raises:
        BundleError: One is missing.
    """
    digests = {}
    for name in names:
        check_file(part, part / name)
        try:
            digests[name] = file_sha256(part / name)
        except OSError as error:
            message = (
                f"{part / name} cannot be read ({error.strerror}); copy the whole bundle, or remove or train the "
                "adapter again"
            )
            raise BundleError(message) from error
    return digests


def _is_right(bundle: Path, part: Path, digests: Digests) -> bool:
    try:
        check_part(bundle, part, digests)
    except BundleError:
        return False
    return True
