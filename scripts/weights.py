"""The bundle that ships, from a folder of photographs: shards, the three phases, and the training log.

    python scripts/weights.py --data /path/to/photographs --output runs/weights --budget 1 --jobs 2
    python scripts/weights.py --output runs/weights --compare docs/weights/training-log.csv

Each step is left out where its result is there, and a phase that was interrupted goes on from its last checkpoint: run
the same command again. Settings are in ``configs/weights``.
"""

import argparse
import hashlib
import io
import json
import math
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weights_recipe.forecast import print_forecast
from weights_recipe.log import FACTS_NAME, LOG_NAME, Rows, compare, hardware, read_metrics, write_log
from weights_recipe.phases import KINDS, ROOT, THREADS, Phase, phases, provenance
from weights_recipe.processes import GOES_ON, Command, RecipeError, run_all
from weights_recipe.shards import (
    HELD_OUT_EVERY,
    PHOTOGRAPHS_PER_SHARD,
    SIDES_PX,
    TILING,
    WEIGHTS,
    WITHOUT,
    build_shards,
    find_photographs,
)


def train(each: Sequence[Phase], jobs: int = 1) -> None:
    """Train phases, side by side where there are several, and leave out those whose result is there."""
    commands = []
    for phase in each:
        if phase.is_done:
            print(f"{phase.name}: there already, {phase.steps} steps")
            continue
        begun = f", of which {phase.steps_done} are done" if phase.steps_done else ""
        said = phase.root / f"{phase.logs.name}.txt" if phase.kind == "adapter" else None
        title = f"{phase.name}: {phase.steps} steps{begun}{f'; what it says is in {said}' if said else ''}"
        commands.append(Command(title, ["fit", *phase.options, "--resume", "auto"], phase.threads, said))
    run_all(commands, jobs)
    for phase in each:
        if not phase.is_done:
            message = f"{phase.name} has ended before its last step; {GOES_ON}"
            raise RecipeError(message, 1)


def write_training_log(output: Path, each: Sequence[Phase], budget: float, jobs: int) -> None:
    """Write what the phases have logged so far, and how long they took, where anything was logged."""
    rows: Rows = {phase.name: steps for phase in each if (steps := read_metrics(phase.logs))}
    if not rows:
        return
    facts = {}
    for phase in each:
        made = provenance(phase.saved).get(phase.name, {}) if phase.is_done else {}
        if phase.steps_done:
            known = {name: made[name] for name in ("seconds", "hardware", "precision") if name in made}
            facts[phase.name] = {"steps": phase.steps_done, **known}
    seconds = round(sum(found.get("seconds", 0.0) for found in facts.values()), 1)
    start = {"budget": budget, "jobs": jobs, "threads": THREADS, **hardware(), "seconds": seconds}
    write_log(output, rows, {**start, "phases": facts})
    print(f"training log: {output / LOG_NAME} and {output / FACTS_NAME}")


def claim(output: Path, recipe: Path, data: Path, photographs: Sequence[Path], more: Sequence[Any]) -> None:
    """Mark the output as that of these photographs and settings, unless it is of others."""
    found = {"photographs": hashlib.sha256(), "settings": hashlib.sha256()}
    for path in photographs:
        told = f"{path.relative_to(data)}\0{path.stat().st_size}\0"
        found["photographs"].update(os.fsencode(told))
    for kind in KINDS:
        for file in (ROOT / "configs" / f"{kind}.yaml", recipe / f"{kind}.yaml"):
            found["settings"].update(re.sub(r"\s*#.*", "", file.read_text()).encode())  # comments change no run
    fixed = [HELD_OUT_EVERY, SIDES_PX, TILING, PHOTOGRAPHS_PER_SHARD, WITHOUT, WEIGHTS, THREADS, *more]
    found["settings"].update(json.dumps(fixed).encode())
    digests = {name: digest.hexdigest() for name, digest in found.items()}
    file = output / "recipe.json"
    if not file.exists():
        output.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(digests, indent=2) + "\n")
    known = json.loads(file.read_text())
    for name, digest in digests.items():
        if known.get(name) != digest:
            message = f"{output} is of other {name}; choose another OUTPUT, or remove it"
            raise RecipeError(message)


def make_weights(options: argparse.Namespace) -> None:
    """Everything, in order."""
    if not options.data:
        message = "no photographs are given; expected a folder of them: make weights DATA=/path/to/photographs"
        raise RecipeError(message)
    data, output, recipe, budget = options.data, options.output, options.recipe, options.budget
    photographs = find_photographs(data)
    if output.resolve().is_relative_to(data.resolve()):
        message = f"{output} is in {data}, where its own files would be taken for photographs; choose another OUTPUT"
        raise RecipeError(message)
    claim(output, recipe, data, photographs, [options.licence, options.dead_leaves])
    each = phases(output, recipe, budget)
    first, *adapters, last = each
    if first.steps_done > first.steps:
        message = (
            f"{output} has {first.steps_done} steps of phase I, a budget of {budget:g} only {first.steps}; raise "
            "BUDGET, or choose another OUTPUT"
        )
        raise RecipeError(message)
    build_shards(output, photographs, options.licence, options.dead_leaves)
    print_forecast(output, each, options.jobs)
    try:
        train([first])
        train(adapters, options.jobs)
        train([last])
    finally:
        write_training_log(output, each, budget, options.jobs)
    bundle = output / "bundle"
    steps = {phase.name: phase.steps for phase in each}
    if {name: facts.get("steps") for name, facts in provenance(bundle).items()} == steps:
        print(f"{bundle}: there already")
        return
    run_all([Command(f"bundle {bundle}", ["bundle", "halve", str(last.saved), "--output", str(bundle)])])


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=_folder, help="folder of photographs; every twelfth is held out")
    parser.add_argument("--output", type=Path, default=Path("runs/weights"), help="where everything is written")
    parser.add_argument("--budget", type=_share, default=1.0, help="share of each phase's steps, in (0, 1]")
    parser.add_argument("--jobs", type=_count, default=2, help="adapters trained side by side, a thread each")
    parser.add_argument("--licence", help="of the photographs, for the model card, such as CC0-1.0")
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs" / "weights", help="folder of the settings")
    parser.add_argument("--dead-leaves", type=_count, default=512, help="drawn images beside the photographs")
    parser.add_argument("--compare", type=Path, metavar="LOG", help="train nothing: compare the log with this one")
    return parser.parse_args(given)


def _folder(text: str) -> Path | None:
    return Path(text) if text else None


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 < value <= 1.0 or not math.isfinite(value):
        message = f"{text} is not in (0, 1]"
        raise argparse.ArgumentTypeError(message)
    return float(f"{value:g}")


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        message = f"{text} is less than 1"
        raise argparse.ArgumentTypeError(message)
    return value


def main(given: Sequence[str] | None = None) -> int:
    """Run the recipe, and give the exit status: 0 done, 1 the work failed or logs differ, 2 the input is wrong."""
    options = _arguments(given)
    try:
        if options.compare is not None:
            return compare(options.output / LOG_NAME, options.compare)
        make_weights(options)
    except RecipeError as error:
        return _say(str(error), error.status)
    except (OSError, ValueError) as error:
        return _say(f"{error}; mend it, or choose another OUTPUT", 1)
    except KeyboardInterrupt:
        return _say(f"interrupted; {GOES_ON}", 1)
    return 0


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"weights: error: {message.encode(errors='replace').decode()}\n")
    return status


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in order with what its processes say, also in a file
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    sys.exit(main())
