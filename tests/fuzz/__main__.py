"""Fuzz what reads files of strangers: ``python -m tests.fuzz --target all --count 10000``."""

import argparse
import math
import sys
import tempfile
from pathlib import Path

import torch
from tests.fuzz.targets import TARGETS
from tests.fuzz.watch import LIMIT_MIB, LIMIT_S, Tally, random_of, watch

_SHOWN = 20
_TITLES = ("inputs", "accepted", "refused", "findings", "slowest", "by clock", "memory")


def main() -> int:
    """Run the targets one after the other; 1 where anything was found."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--count", type=int, default=sys.maxsize, help="inputs, over all targets")
    parser.add_argument("--seconds", type=float, default=math.inf, help="time, over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"), help="where inputs that break something go")
    given = parser.parse_args()
    if given.count == sys.maxsize and given.seconds == math.inf:
        parser.error("expected --count or --seconds")
    torch.set_num_threads(1)
    names = list(TARGETS) if given.target == "all" else [given.target]
    print("target" + "".join(f"{title:>10}" for title in _TITLES))
    found = 0
    for index, name in enumerate(names):
        share = given.count // len(names) + (index < given.count % len(names))
        tally = fuzz(name, given.seed, share, given.seconds / len(names), given.findings)
        refused = tally.inputs - tally.accepted - len(tally.findings)
        print(
            f"{name:<7}{tally.inputs:>9}{tally.accepted:>10}{refused:>10}{len(tally.findings):>10}"
            f"{tally.slowest_s:>8.2f} s{tally.longest_s:>8.2f} s{tally.highest_mib:>6.0f} MiB",
            flush=True,
        )
        found += len(tally.findings)
    print(f"limits: an AbairError of one line or success, {LIMIT_S:.0f} s, {LIMIT_MIB} MiB, no other file written")
    return 1 if found else 0


def fuzz(name: str, seed: int, count: int, seconds: float, findings: Path) -> Tally:
    """Run one target, tell of what is found, and keep the inputs.

    Args:
        name: The target's name.
        seed: The seed.
        count: How many inputs at most.
        seconds: For how long at most.
        findings: The folder that inputs which break something are written to.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="abair-fuzz-") as folder:
        target = TARGETS[name](Path(folder))
        for outcome in watch(target, name, seed, count, seconds):
            tally.add(outcome)
            if outcome.finding:
                case = target.make(random_of(seed, name, outcome.number))
                findings.mkdir(parents=True, exist_ok=True)
                kept = findings / f"{name}-{seed}-{outcome.number}-{case.name.replace('/', '-')}"
                kept.write_bytes(case.data)
                if len(tally.findings) <= _SHOWN:
                    sys.stderr.write(f"{kept}: {outcome.finding}\n")
    return tally


if __name__ == "__main__":
    sys.exit(main())
