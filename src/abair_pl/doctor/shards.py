"""Whether the shards are all there and as they were built, and enough for the processes that read them."""

import warnings
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from abair_pl.data.manifest import MANIFEST_NAME, Manifest, file_sha256
from abair_pl.data.streaming.beside import layouts_of, samples_in
from abair_pl.data.streaming.sources import Source, expand_shards, expand_sources, is_remote
from abair_pl.doctor.page import Line, Section, counted, error_line
from abair_pl.doctor.plan import Plan
from abair_pl.errors import AbairError, InputError, one_line

_SAMPLED = 2
"""Shards of each use whose hash is taken where not all are asked for: the first and the last one."""

_REBUILD = "remove it and run the same abair-pl shards build again, or copy it again"


@dataclass(frozen=True)
class Verified:
    """What was found out about the shards of one use.

    Attributes:
        shards: Their number.
        samples: How many samples they hold by their manifests; None without.
        layout: ``clean``, ``paired`` or both; None without a manifest.
        remote: How many are not on this machine, of which sizes and hashes are not looked at.
        sizes: How many have the size that their manifest gives.
        hashes: How many have its hash, of those whose hash was taken.
    """

    shards: int
    samples: int | None
    layout: str | None
    remote: int
    sizes: int
    hashes: int

    def __str__(self) -> str:
        samples = "samples unknown" if self.samples is None else f"{self.samples:,} {self.layout or ''} samples"
        here = self.shards - self.remote
        remote = f", {self.remote} not on this machine" if self.remote else ""
        return (
            f"{self.shards} shards, {samples}; verified {self.sizes} sizes and {self.hashes} hashes of {here}{remote}"
        )


def check_shards(named: str | None, plan: Plan | None = None, all_hashes: bool = False) -> Section:
    """Look at shards.

    Args:
        named: A folder, or a path with braces; they have to have a manifest.
        plan: A run whose shards are looked at, too.
        all_hashes: Take the hash of every shard on this machine, instead of two of each use.
    """
    lines: list[Line] = []
    uses: dict[str, Verified] = {}
    facts: dict[str, Any] = {}
    if named is not None:
        lines += _look("shards", named, True, False, all_hashes, uses)
        if found := uses.pop("shards", None):
            facts |= {"shards": found.shards, "samples": found.samples, "verified": asdict(found)}
    if plan is not None:
        pipe = bool(plan.data["allow_pipe"])
        for use in ("train", "val", "test"):
            if plan.data[use] is not None:
                lines += _look(use, plan.data[use], use != "train", pipe, all_hashes, uses)
        facts["data"] = {use: asdict(found) for use, found in uses.items()}
        lines.append(_batch(plan))
        if not any(line.mark == "problem" for line in lines):
            lines += _readers(plan, expand_sources(plan.data["train"], pipe))
            lines += _apart(plan, pipe)
    return Section("Shards", lines, facts)


def _look(
    use: str, given: Any, needs_manifest: bool, pipe: bool, all_hashes: bool, uses: dict[str, Verified]
) -> list[Line]:
    """The lines on the shards of a use, which is added to ``uses``."""
    try:
        if use == "train":
            shards = [shard for source in expand_sources(given, pipe) for shard in source.shards]
        else:
            shards = expand_shards(given, pipe)
        folders: defaultdict[Path, list[Path]] = defaultdict(list)
        for shard in shards:
            if not is_remote(shard):
                folders[Path(shard).parent].append(Path(shard))
        without = [folder for folder in folders if not (folder / MANIFEST_NAME).is_file()]
        remote = sum(map(is_remote, shards))
        counted = needs_manifest or not (without or remote)
        samples = samples_in(shards) if counted else None
        known = [path for folder, paths in folders.items() if folder not in without for path in paths]
        sizes, hashes, faults = _verify(known, all_hashes)
        layout = " and ".join(sorted(layouts_of(shards))) or None
        found = Verified(len(shards), samples, layout, remote, sizes, hashes)
    except AbairError as error:
        return [error_line(use, error)]
    uses[use] = found
    if faults:
        others = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        return [Line(use, faults[0] + others, "problem", _REBUILD)]
    lines = [Line(use, str(found), "ok" if sizes else "")]
    if without:
        text = f"{without[0]} has no {MANIFEST_NAME}, so that nothing in it can be verified"
        lines.append(Line(use, text, "warning", "make shards with: abair-pl shards build"))
    return lines


def _verify(shards: list[Path], all_hashes: bool) -> tuple[int, int, list[str]]:
    """How many sizes and hashes are those of the manifests, and what is wrong with others."""
    hashed = set(shards if all_hashes else [*shards[:1], *shards[1:][-(_SAMPLED - 1) :]])
    entries = {path: entry for path, entry in _entries(shards).items() if path in set(shards)}
    sizes, hashes = 0, 0
    faults = [f"{path} is not in the {MANIFEST_NAME} beside it" for path in shards if path not in entries]
    for path, entry in entries.items():
        size = path.stat().st_size
        if size != entry.size_bytes:
            faults.append(f"{path} has {size:,} bytes, its manifest says {entry.size_bytes:,}")
            continue
        sizes += 1
        if path in hashed:
            if file_sha256(path) == entry.sha256:
                hashes += 1
            else:
                faults.append(f"{path} has another sha256 than its manifest says")
    return sizes, hashes, faults


def _entries(shards: list[Path]) -> dict[Path, Any]:
    folders = dict.fromkeys(path.parent for path in shards)
    return {folder / entry.name: entry for folder in folders for entry in Manifest.read(folder).shards}


def _batch(plan: Plan) -> Line:
    """How the batch is split over devices and accumulated batches."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            split = plan.split()
        except InputError as error:
            return error_line("batch", error)
    parts = f"{counted(split.devices, 'device')} x {split.accumulated} accumulated x {split.each}"
    text = f"{plan.data['batch_size']} = {parts}"
    if said:
        remedy = one_line(str(said[0].message)).partition("; ")[2]
        return Line("batch", f"{text}, far from filling the devices", "warning", remedy)
    return Line("batch", text, "ok")


def _readers(plan: Plan, sources: list[Source]) -> list[Line]:
    """Whether every worker of every rank gets a shard of every source."""
    needed = plan.ranks * plan.readers
    asked = f"{counted(plan.ranks, 'rank')} x {counted(plan.readers, 'worker')}"
    for source in sources:
        if len(source.shards) < needed:
            text = f"{len(source.shards)} training shards in {source.name} for {asked}; expected at least {needed}"
            remedy = "set data.workers lower, or build with a smaller --samples-per-shard"
            return [Line("readers", text, "problem", remedy)]
    return [Line("readers", f"{asked} for {min(len(source.shards) for source in sources)} training shards", "ok")]


def _apart(plan: Plan, pipe: bool) -> list[Line]:
    """Whether what is trained on is measured on."""
    trained = {shard for source in expand_sources(plan.data["train"], pipe) for shard in source.shards}
    both = sorted(trained & set(expand_shards(plan.data["val"], pipe)))
    if not both:
        return []
    text = f"{both[0]} is among the shards to train on and those to validate on"
    return [Line("val", text, "warning", "set data.val to other shards")]
