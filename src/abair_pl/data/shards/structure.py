"""What a folder structure is: its parts, and in each the templates that its files' paths fit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from braceexpand import braceexpand

from abair_pl.data.manifest import Kind
from abair_pl.data.shards.templates import Template


@dataclass(frozen=True)
class Tree:
    """One folder structure: the template of its images, and that of their targets where they are pairs.

    All groups of ``target`` are groups of ``input``: they say which target an input has.
    """

    input: Template
    target: Template | None


@dataclass(frozen=True)
class Split:
    """A part of a data set.

    Attributes:
        expected: Number of photographs or pairs; None for folders of any number.
        root: Folders that may hold it, as a brace expression; the empty one is the input folder itself.
        trees: Templates of images, or of inputs and targets, as brace expressions; the first that fits is taken.
        numbers: The values of the group ``n``, to tell which are missing.
        kinds: A group of choices each of which every target has an input of.
    """

    expected: int | None
    root: str
    trees: tuple[str | tuple[str, str], ...]
    numbers: range = range(0)
    kinds: str = ""

    def variants(self) -> Iterator[Tree]:
        """All folder structures, the likeliest first."""
        for root, tree in product(braceexpand(self.root), self.trees):
            inputs, targets = (tree, None) if isinstance(tree, str) else tree
            for template in braceexpand(inputs):
                for target in [None] if targets is None else braceexpand(targets):
                    yield Tree(Template(root + template), None if target is None else Template(root + target))


@dataclass(frozen=True)
class Layout:
    """A data set, or any folder.

    Attributes:
        kind: Photographs or pairs.
        splits: Its parts; the first is taken if none is named.
        source: Where a person gets it.
        licence: What its authors allow, as found; empty for one's own folders.
    """

    kind: Kind
    splits: Mapping[str, Split]
    source: str = ""
    licence: str = ""
