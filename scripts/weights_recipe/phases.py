"""The training runs of the recipe: their steps, their options, and how far they are."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weights_recipe.processes import RecipeError
from weights_recipe.shards import SIDES_PX, WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("pretrain", "adapter", "estimator")
THREADS = 2
"""Of a phase that runs by itself, on any machine: the last digits of its losses depend on it."""


@dataclass(frozen=True)
class Phase:
    """One training run.

    Attributes:
        name: As the bundle's provenance has it, such as ``adapter/rain``.
        kind: Of which phase: ``pretrain``, ``adapter`` or ``estimator``.
        steps: Optimizer steps within the budget.
        threads: Of PyTorch.
        root: Where its checkpoints are.
        logs: The folder of its CSV logger.
        start: The bundle that it starts from; None for phase I.
        saved: The bundle that it makes, or adds to.
        options: Those of ``fit``, but for what a resumed run has beside them.
    """

    name: str
    kind: str
    steps: int
    threads: int
    root: Path
    logs: Path
    start: Path | None
    saved: Path
    options: tuple[str, ...]

    @property
    def steps_done(self) -> int:
        """Steps to the end where the bundle has its result, else to the last checkpoint."""
        found = provenance(self.saved).get(self.name, {}).get("steps", 0)
        place = self.root / "checkpoints" / self.name.replace("/", "-")
        kept = [path.stem.removeprefix("step-") for path in place.glob("run-*/step-*.ckpt")]
        return max([int(found), *(int(step) for step in kept if step.isdecimal())])

    @property
    def is_done(self) -> bool:
        """Whether the bundle has its result."""
        return bool(provenance(self.saved).get(self.name, {}).get("steps") == self.steps)


def provenance(bundle: Path) -> dict[str, Any]:
    """What a bundle says about the phases that made it; nothing where there is none."""
    try:
        return dict(json.loads((bundle / "config.json").read_text()).get("provenance", {}))
    except FileNotFoundError:
        return {}


def phases(output: Path, recipe: Path, budget: float) -> list[Phase]:
    """All phases in their order; those after phase I lie in a folder of the budget, as they depend on its result."""
    stage = output / f"budget-{budget:g}"
    backbone, adapters = output / "pretrain" / "bundle", stage / "adapters" / "bundle"
    _check_biases(recipe)

    def phase(kind: str, root: Path, start: Path | None, saved: Path, degradation: str = "") -> Phase:
        text = (recipe / f"{kind}.yaml").read_text()
        steps = max(round(_number(text, "schedule_steps", recipe / f"{kind}.yaml") * budget), 1)
        interval = min(_number(text, "val_check_interval", recipe / f"{kind}.yaml"), steps)
        logger = degradation or "logs"
        options = ["--config", str(ROOT / "configs" / f"{kind}.yaml"), "--config", str(recipe / f"{kind}.yaml")]
        sources = {str(output / "shards" / name): weight for name, weight in WEIGHTS.items()}
        options += ["--data.train", json.dumps(sources)]
        options += ["--data.val", json.dumps([str(output / "shards" / f"val-{side}") for side in SIDES_PX])]
        options += ["--model.init_from", str(start)] if start is not None else []
        options += ["--model.degradation", degradation] if degradation else []
        options += ["--model.save_to", str(saved), "--trainer.default_root_dir", str(root)]
        options += ["--trainer.logger.save_dir", str(root), "--trainer.logger.name", logger]
        options += ["--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(interval)]
        name, threads = (f"adapter/{degradation}", 1) if degradation else (kind, THREADS)
        return Phase(name, kind, steps, threads, root, root / logger, start, saved, tuple(options))

    return [
        phase("pretrain", output / "pretrain", None, backbone),
        *(phase("adapter", stage / "adapters", backbone, adapters, each) for each in degradations(recipe)),
        phase("estimator", stage / "estimator", adapters, stage / "estimator" / "bundle"),
    ]


def degradations(recipe: Path) -> list[str]:
    """Those of phase I, each of which has an adapter."""
    match = re.search(r"^ *degradations: *\[([\w, ]+)\]", (recipe / "pretrain.yaml").read_text(), re.MULTILINE)
    if match is None:
        message = f"{recipe / 'pretrain.yaml'} has no line degradations: [NAME, ...]; expected one"
        raise RecipeError(message)
    return [name.strip() for name in match[1].split(",")]


def _check_biases(recipe: Path) -> None:
    """Or phase III would find out after hours."""
    match = re.search(r"^ *bias: *\{(.*)\}", (recipe / "estimator.yaml").read_text(), re.MULTILINE)
    labels = ["clean", *degradations(recipe)]
    for name in re.findall(r"(\w+) *:", match[1]) if match else ():
        if name not in labels:
            message = f"{recipe / 'estimator.yaml'} has a bias of {name}; expected one of {', '.join(labels)}"
            raise RecipeError(message)


def _number(text: str, key: str, file: Path) -> int:
    match = re.search(rf"^ *{key}: *(\d+) *(#.*)?$", text, re.MULTILINE)
    if match is None:
        message = f"{file} has no line {key}: NUMBER; expected one"
        raise RecipeError(message)
    return int(match[1])
