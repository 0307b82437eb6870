"""Where shards are: the paths and URLs that a setting stands for, and how often each source is drawn from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import braceexpand

from abair_pl.data.manifest import MANIFEST_NAME, Manifest
from abair_pl.errors import ShardError

SCHEMES = ("http", "https", "s3")
Sources = dict[str, float] | list[str] | str
_MANIFEST_FACTS: tuple[Literal["layout", "licence"], ...] = ("layout", "licence")
_USER = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"(://[^\n\"'?]*)\?[^\s\"']*")


@dataclass(frozen=True)
class Source:
    """Shards that are drawn from together.

    Attributes:
        name: What the setting calls it, as far as it may be :func:`told`.
        shards: Paths or URLs, in order.
        weight: The share of samples that come from it, in (0, 1].
    """

    name: str
    shards: list[str]
    weight: float


def is_remote(shard: str) -> bool:
    """Whether a shard is not a file on this machine."""
    return "://" in shard or shard.startswith("pipe:")


def shown(shard: str) -> str:
    """A shard as messages name it: without a query or a password, which may grant access."""
    if shard.startswith("pipe:") or "://" not in shard:
        return shard
    return _QUERY.sub(r"\1", _USER.sub("", shard))


def told(source: str) -> str:
    """A source, or any text with some in it, as it may leave this machine: as shown, and of shell commands nothing."""
    return "pipe:" if "pipe:" in source else shown(source)


def expand_shards(sources: str | list[str], allow_pipe: bool = False) -> list[str]:
    """The shards that a setting stands for.

    Args:
        sources: A folder of ``.tar`` files, a path or URL with braces such as ``gld-{000000..000999}.tar``, or a list
            of these.
        allow_pipe: Whether ``pipe:`` may run a shell command, whose output is the shard.

    Returns:
        Paths or URLs, in order.

    Raises:
        ShardError: None is given, a folder has no shard, a file does not exist, braces do not match, or a URL is of
            a kind that cannot be opened.
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
            _check_whole(folder, found)
            shards += found
            continue
        for name in _expand_braces(source):
            check_address(name, allow_pipe)
            shards.append(name)
    return shards


def _check_whole(folder: Path, found: list[str]) -> None:
    """See that a folder has all shards of its manifest, if there is a complete one."""
    if not (folder / MANIFEST_NAME).is_file() or not (manifest := Manifest.read(folder)).complete:
        return
    missing = sorted({entry.name for entry in manifest.shards} - {Path(shard).name for shard in found})
    if missing:
        message = (
            f"{folder} lacks {missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''} of the "
            f"{len(manifest.shards)} shards in its manifest; copy or build again what is missing"
        )
        raise ShardError(message)


def check_address(shard: str, allow_pipe: bool) -> None:
    """Refuse a shard that cannot, or may not, be opened.

    Raises:
        ShardError: There is no such file, the URL is of another kind than those that can be opened, or it is a shell
            command and none is allowed.
    """
    if shard.startswith("pipe:"):
        if not allow_pipe:
            message = (
                f"{shard} would run a shell command; expected a .tar file, a folder of them, or a URL; fit, "
                "validate, test and predict, and only they, allow it with --data.allow_pipe true, where you trust it"
            )
            raise ShardError(message)
    elif "://" in shard:
        scheme = shard.partition("://")[0]
        if scheme not in SCHEMES:
            message = (
                f"{shown(shard)} is of the kind {scheme}://; expected a path, {', '.join(f'{s}://' for s in SCHEMES)}, "
                "or pipe: with the command that prints the shard"
            )
            raise ShardError(message)
    elif not Path(shard).is_file():
        message = f"no shard at {shard}; expected a .tar file, a folder of them, or a URL"
        raise ShardError(message)


def expand_sources(sources: Sources, allow_pipe: bool = False) -> list[Source]:
    """The sources to mix, with weights that sum to one.

    Args:
        sources: What :func:`expand_shards` takes, which is a single source; or weights by source.
        allow_pipe: Whether ``pipe:`` may run a shell command.

    Raises:
        ShardError: A weight is not a positive number, or :func:`expand_shards` refuses a source.
    """
    if not isinstance(sources, Mapping):
        name = ", ".join(map(told, [sources] if isinstance(sources, str) else sources))
        return [Source(name, expand_shards(sources, allow_pipe), 1.0)]
    if not sources:
        message = "no shards given in {}; expected sources with their weights, such as {shards/train: 1.0}"
        raise ShardError(message)
    for name, weight in sources.items():
        if not 0 < weight < float("inf"):
            message = (
                f"{shown(name)} has the weight {weight}; expected a positive number: leave out what is not to be read"
            )
            raise ShardError(message)
    total = sum(sources.values())
    return [Source(told(name), expand_shards(name, allow_pipe), weight / total) for name, weight in sources.items()]


def facts_of(sources: list[Source]) -> dict[str, Any]:
    """For a bundle's provenance, by the names of sources: their shares, and what the manifests beside shards say."""
    shares: dict[str, float] = {}
    for source in sources:
        shares[source.name] = shares.get(source.name, 0.0) + source.weight
    layouts, licences = (_by_manifests(sources, fact) for fact in _MANIFEST_FACTS)
    return {"data_sources": shares, "data_layouts": layouts, "data_licences": licences}


def _by_manifests(sources: list[Source], fact: Literal["layout", "licence"]) -> dict[str, str]:
    """A fact by the names of sources, of those on this machine that have it; several are joined by commas."""
    found: dict[str, set[str]] = {}
    for source in sources:
        folders = {Path(shard).parent for shard in source.shards if not is_remote(shard)}
        manifests = [Manifest.read(folder) for folder in folders if (folder / MANIFEST_NAME).is_file()]
        found.setdefault(source.name, set()).update(getattr(manifest, fact) for manifest in manifests)
    return {name: ", ".join(sorted(values - {""})) for name, values in found.items() if values - {""}}


def _expand_braces(source: str) -> list[str]:
    try:
        return list(braceexpand.braceexpand(source))
    except ValueError as error:
        message = f"{shown(source)} has unbalanced braces; expected them in pairs, such as gld-{{000000..000999}}.tar"
        raise ShardError(message) from error
