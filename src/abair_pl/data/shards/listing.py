"""From a folder of a known structure to the samples in it, and to what is missing."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from abair_pl.data.decode import IMAGE_SUFFIXES, is_depth_map
from abair_pl.data.shards.layouts import find_layout, find_split
from abair_pl.data.shards.structure import Layout, Split, Tree
from abair_pl.errors import ShardError

_DEPTH = ".depth"
_NAMED = 5  # missing files that a message names


class Member(NamedTuple):
    """One file of a sample: ``input``, ``target``, ``depth``, or nothing for a photograph; and where it comes from."""

    role: str
    path: str
    size_bytes: int

    @property
    def suffix(self) -> str:
        """The suffix of its file, in lower case."""
        return self.path.rpartition(".")[2].lower()


class Sample(NamedTuple):
    """A photograph, with its depth if there is one, or a pair."""

    key: str
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Listing:
    """The samples of a folder in the order of their keys.

    Attributes:
        layout: Name of the folder structure.
        split: The part of the data set.
        samples: What is there.
        expected: How many a whole folder has.
        note: What is missing, where it is; empty for a whole folder.
    """

    layout: str
    split: str
    samples: list[Sample]
    expected: int
    note: str


class _File(NamedTuple):
    """An image file: its path in the folder without suffix, and where it is."""

    stem: str
    path: str
    size_bytes: int


_Groups = dict[str, str]


@dataclass
class _Found:
    """What a folder structure makes of the files: samples, and names of images that lack a partner."""

    inputs: list[tuple[_Groups, _File]] = field(default_factory=list)
    targets: dict[tuple[str, ...], _File] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    without_target: list[str] = field(default_factory=list)
    without_input: list[str] = field(default_factory=list)


def list_samples(source: Path, layout: str, split: str | None = None, allow_partial: bool = False) -> Listing:
    """Find the samples of a folder.

    Links to files and folders are followed; names that start with a dot are passed over.

    Args:
        source: The folder.
        layout: Name of its structure.
        split: Part of the data set; None for the customary one.
        allow_partial: Accept a folder that has not as many samples as it should.

    Raises:
        InputError: There is no such layout or split.
        ShardError: There are no samples, not as many as there should be, or two would have the same name.
    """
    layout, known = find_layout(layout)
    split, part = find_split(layout, split)
    if not source.is_dir():
        message = f"{source} is not a folder; expected one with images"
        raise ShardError(message)
    try:
        files = sorted(_image_files(source))
    except OSError as error:
        message = f"{error.filename}: cannot be read ({error.strerror}); mend it, or remove it from {source}"
        raise ShardError(message) from error
    depths: dict[str, _File] = {}
    if known.kind == "clean":
        depths = {file.stem.removesuffix(_DEPTH): file for file in files if is_depth_map(file.path)}
        files = [file for file in files if not is_depth_map(file.path)]
    tree, found = _best(part, files)
    if not found.inputs and not found.targets:
        raise ShardError(_nothing(source, f"{layout} ({split})", part, tree, files))
    count = len(found.samples)
    expected = part.expected
    if expected is None:
        expected = count + len(found.without_target) + len(found.without_input)
    note = ""
    if count != expected:
        unit = "pairs" if known.kind == "paired" else "photographs"
        missing = _missing(tree, part, found, expected - count)
        note = f"{source}: expected {expected} {unit}, found {count}: {missing}"
        if not count or not allow_partial:
            raise ShardError(note + _remedy(known, split, count))
    samples = _with_depth(found, depths) if depths else found.samples
    return Listing(layout, split, _in_order(samples), expected, note)


def _remedy(layout: Layout, split: str, count: int) -> str:
    remedies = [f"complete the folder{' from ' if layout.source else ''}{layout.source}"]
    others = ", ".join(name for name in layout.splits if name != split)
    if others:
        remedies.append(f"choose another --split ({others})")
    if count:
        remedies.append("accept it with --allow-partial")
    return f"; {', or '.join(remedies)}"


def _image_files(folder: Path) -> Iterable[_File]:
    """All images of a folder and its subfolders, each asked for its size once."""
    start = len(f"{folder}{os.sep}")
    waiting = [str(folder)]
    linked: set[str] = set()
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if entry.is_symlink():
                        _follow(entry.path, linked)
                    waiting.append(entry.path)
                elif suffix.lower() in IMAGE_SUFFIXES and stem:
                    if not entry.is_file():
                        kind = "a link to no file" if entry.is_symlink() else "no regular file"
                        message = f"{entry.path} is {kind}; expected an image: fetch it, or remove what has its name"
                        raise ShardError(message)
                    stem = entry.path[start:].rpartition(dot)[0].replace(os.sep, "/")
                    yield _File(stem, entry.path, entry.stat().st_size)


def _follow(link: str, linked: set[str]) -> None:
    """Note which folder a link leads to, as a loop of links would lead there for ever."""
    folder = os.path.realpath(link)
    if folder in linked:
        message = f"{link} leads to {folder}, as another link does; expected one link to a folder: remove the other"
        raise ShardError(message)
    linked.add(folder)


def _best(part: Split, files: list[_File]) -> tuple[Tree, _Found]:
    """The first structure that has samples; if none has, the one with the most images."""
    nearest: tuple[Tree, _Found] | None = None
    for tree in part.variants():
        found = _match(tree, files)
        if found.samples:
            return tree, found
        if nearest is None or len(found.inputs) + len(found.targets) > len(nearest[1].inputs) + len(nearest[1].targets):
            nearest = tree, found
    if nearest is None:
        message = "a layout without folder structure; expected at least one in each split"
        raise ShardError(message)
    return nearest


def _match(tree: Tree, files: list[_File]) -> _Found:
    found = _Found()
    for file in files:
        groups = tree.input.match(file.stem)
        if groups is not None:
            found.inputs.append((groups, file))
    if tree.target is None:
        found.samples = [Sample(tree.input.key(file.stem), (_member("", file),)) for _, file in found.inputs]
        return found
    names = tree.target.names
    for file in files:
        groups = tree.target.match(file.stem)
        if groups is not None:
            identity = tuple(groups[name] for name in names)
            if identity in found.targets:
                other = found.targets[identity].path
                message = f"{file.path} and {other} would both be the target of the same input; remove one"
                raise ShardError(message)
            found.targets[identity] = file
    used = set()
    for groups, file in found.inputs:
        identity = tuple(groups[name] for name in names)
        target = found.targets.get(identity)
        if target is None:
            found.without_target.append(tree.target.fill(groups))
        else:
            used.add(identity)
            found.samples.append(Sample(tree.input.key(file.stem), (_member("input", file), _member("target", target))))
    lonely = [identity for identity in found.targets if identity not in used]
    found.without_input = [tree.input.fill(dict(zip(names, identity, strict=True))) for identity in lonely]
    return found


def _member(role: str, file: _File) -> Member:
    return Member(role, file.path, file.size_bytes)


def _with_depth(found: _Found, depths: dict[str, _File]) -> list[Sample]:
    """Samples of photographs with the depth maps that lie beside them."""
    lonely = sorted(depths.keys() - {file.stem for _, file in found.inputs})
    if lonely:
        message = f"{depths[lonely[0]].path} has no photograph of its name beside it; add it, or remove the depth"
        raise ShardError(message)
    return [
        Sample(sample.key, (*sample.members, _member("depth", depths[file.stem]))) if file.stem in depths else sample
        for sample, (_, file) in zip(found.samples, found.inputs, strict=True)
    ]


def _in_order(samples: list[Sample]) -> list[Sample]:
    samples.sort(key=lambda sample: sample.key)
    for sample in samples:
        if not sample.key.isprintable():
            message = f"{sample.members[0].path!r} has control characters in its name, which readers refuse; rename it"
            raise ShardError(message)
    for first, second in pairwise(samples):
        if first.key == second.key:
            one, other = first.members[0].path, second.members[0].path
            message = f"{one} and {other} would both be sample '{first.key}'; rename one"
            raise ShardError(message)
    return samples


def _missing(tree: Tree, part: Split, found: _Found, count: int) -> str:
    """The names of missing images, as far as names can tell; those of other parts' targets are not."""
    if count < 0:
        return "more than were published, so that this is another edition or more than one split"
    names = list(found.without_target)
    if tree.target is not None and part.kinds:
        have = {tree.input.fill(groups) for groups, _ in found.inputs}
        scenes = [dict(zip(tree.target.names, identity, strict=True)) for identity in found.targets]
        all_kinds = [{**scene, part.kinds: kind} for kind in tree.input.choices(part.kinds) for scene in scenes]
        names += [name for name in map(tree.input.fill, all_kinds) if name not in have]
    elif len(found.without_input) <= count:
        names += found.without_input
    if part.numbers and "n" in tree.input.names:
        position = tree.target.names.index("n") if tree.target is not None else 0
        seen = {int(groups["n"]) for groups, _ in found.inputs} | {int(at[position]) for at in found.targets}
        names += [tree.input.fill({"n": str(number)}) for number in part.numbers if number not in seen]
    if not names:
        return "which are missing cannot be told from the names"
    shown = names[:_NAMED]
    more = max(count, len(names)) - len(shown)
    return f"missing {', '.join(shown)}" + (f" and {more} more" if more else "")


def _nothing(source: Path, name: str, part: Split, tree: Tree, files: list[_File]) -> str:
    if not files:
        return f"{source} has no images; expected files named {', '.join('.' + suffix for suffix in IMAGE_SUFFIXES)}"
    first = {"n": str(part.numbers.start or 1)}
    partner = "" if tree.target is None else f" with {tree.target.fill(first)}"
    return (
        f"{source} has {len(files)} images, none where {name} has them; expected such as "
        f"{tree.input.fill(first)}{partner}: see shards/README.md for the folder structure"
    )
