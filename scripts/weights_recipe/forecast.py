"""How long the rest of ``make weights`` takes, by a few measured steps of each phase."""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weights_recipe.phases import Phase
from weights_recipe.processes import environment

_MEASURED_STEPS = "5"
_BEFORE = {"adapter": "pretrain", "estimator": "adapter"}
_STAND_IN = {
    "trainer.max_steps": "1",
    "trainer.val_check_interval": "1",
    "trainer.limit_val_batches": "1",
    "trainer.logger": "false",
    "trainer.enable_progress_bar": "false",
}


@dataclass(frozen=True)
class Forecaster:
    """Measures phases, on bundles of a single step where those that they start from are not there yet.

    Attributes:
        phases: All of them, in their order.
        folder: For what is tried.
    """

    phases: Sequence[Phase]
    folder: Path

    @property
    def examples(self) -> dict[str, Phase]:
        """A phase of each kind, in their order."""
        return {phase.kind: phase for phase in self.phases}

    def seconds(self, kind: str) -> float | None:
        """Seconds of a whole phase by itself; None where that cannot be told."""
        phase, start = self.examples[kind], self._start(kind)
        if start is None and phase.start is not None:
            return None
        configs, settings = _settings(phase, _started(start))
        words = [word for config in configs for word in ("--config", config)]
        words += [word for name, value in settings.items() for word in ("--override", f"{name}={value}")]
        done = self._run(["doctor", *words, "--steps", _MEASURED_STEPS, "--json"], phase)
        try:
            return float(json.loads(done.stdout.splitlines()[-1])["forecast"]["seconds"])
        except (ValueError, LookupError, TypeError):
            return None

    def _start(self, kind: str) -> Path | None:
        """The bundle that a phase starts from, or one that stands in for it; None where it needs or has none."""
        start = self.examples[kind].start
        if start is None or (start / "config.json").is_file():
            return start
        before = self.examples[_BEFORE[kind]]
        made = self.folder / before.kind
        if not made.exists():
            changes = {**_STAND_IN, "model.save_to": str(made), "trainer.default_root_dir": str(self.folder)}
            configs, settings = _settings(before, {**changes, **_started(self._start(before.kind))})
            words = [f"--config={config}" for config in configs]
            self._run(["fit", *words, *(f"--{name}={value}" for name, value in settings.items())], before)
        return made if made.exists() else None

    def _run(self, arguments: Sequence[str], phase: Phase) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "abair_pl.cli", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(phase.threads),
            check=False,
        )


def _settings(phase: Phase, changes: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """A phase's configurations, and its other options by name, with changes."""
    pairs = list(zip(phase.options[::2], phase.options[1::2], strict=True))
    configs = [value for option, value in pairs if option == "--config"]
    settings = {option.removeprefix("--"): value for option, value in pairs if option != "--config"}
    if changes.get("trainer.logger") == "false":
        settings = {name: value for name, value in settings.items() if not name.startswith("trainer.logger.")}
    return configs, {**settings, **changes}


def _started(start: Path | None) -> dict[str, str]:
    return {} if start is None else {"model.init_from": str(start)}


def print_forecast(output: Path, phases: Sequence[Phase], jobs: int) -> None:
    """Print a line for each kind of phase that is still to be done, and the sum.

    Args:
        output: Where a folder for what is tried is made, and removed.
        phases: All phases, in their order.
        jobs: Adapters that are trained side by side.
    """
    if all(phase.is_done for phase in phases):
        return
    print("measuring some steps of what is to be trained ...")
    total, least = 0.0, "about"
    with tempfile.TemporaryDirectory(prefix=".forecast-", dir=output) as made:
        forecaster = Forecaster(phases, Path(made))
        for kind in forecaster.examples:
            waiting = [phase for phase in phases if phase.kind == kind and not phase.is_done]
            if not waiting:
                continue
            left = sum(phase.steps - phase.steps_done for phase in waiting)
            seconds = forecaster.seconds(kind)
            count = len(waiting)
            label = waiting[0].name if count == 1 else f"{count} adapters, {min(jobs, count)} at a time"
            if seconds is None:
                least = "at least"
                print(f"  {label:<28}{left:>8} steps   cannot be told")
                continue
            needed = seconds * left / waiting[0].steps / count * math.ceil(count / jobs)
            total += needed
            print(f"  {label:<28}{left:>8} steps   {duration(needed)}")
    print(f"  in all {least} {duration(total)}, without checkpoints")


def duration(seconds: float) -> str:
    """Seconds for people.

    Examples:
        >>> duration(42.4), duration(200), duration(4000)
        ('43 s', '3 min 20 s', '1 h 6 min')
    """
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
