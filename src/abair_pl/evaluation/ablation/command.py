"""``abair-pl ablate``: variants of the three phases with several seeds, trained, measured and compared."""

import json
from pathlib import Path
from typing import Literal

import torch

from abair_pl.atomic import write_text
from abair_pl.errors import InputError
from abair_pl.evaluation.ablation.runs import Training
from abair_pl.evaluation.ablation.table import ablation_markdown, ablation_values
from abair_pl.evaluation.ablation.variants import PHASES, Ablation, PhaseOptions, read_ablation, read_scale
from abair_pl.evaluation.benchmark.command import measure_suite
from abair_pl.evaluation.benchmark.suite import Method, Suite, read_suite
from abair_pl.evaluation.benchmark.tasks import find_tasks
from abair_pl.images import make_folder


def ablate(
    config: Path,
    output: Path,
    train: str,
    val: str,
    preset: str = "tiny",
    seeds: list[int] | None = None,
    scale: Path | None = None,
    data: Path | None = None,
    photos: Path | None = None,
    allow_partial: bool = False,
    jobs: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train each variant of an ablation with each seed, measure all and write a table of means and deviations.

    Every training is an ordinary abair-pl fit in OUTPUT/runs; what variants, or ablations with the same OUTPUT, have in
    common is trained once. Run the same command again to go on after an interruption.

    Args:
        config: The ablation, such as configs/ablation/table6.yaml; its results are in OUTPUT/table6.
        output: Folder for trainings and results.
        train: Shards to train on, as data.train of the configurations.
        val: Shards to validate on.
        preset: Size of the network.
        seeds: Of the trainings; 0 1 2 if left out.
        scale: How large the runs are, such as configs/ablation/scale/cpu.yaml; as the shipped configurations say if
            left out.
        data: Folder with the data sets that are measured on, as for abair-pl benchmark.
        photos: Folder of clean photographs that stand in for missing ones.
        allow_partial: Accept data sets that have not all their images.
        jobs: Adapters trained side by side.
        device: Where results are measured; auto takes a GPU where there is one.

    Raises:
        InputError: An option or a configuration is wrong.
        AbairError: A training failed; the error names its log.
    """
    ablation = read_ablation(config)
    sizes = PhaseOptions() if scale is None else read_scale(scale)
    suite = read_suite(ablation.suite)
    chosen = [0, 1, 2] if seeds is None else seeds
    if len(set(chosen)) < len(chosen) or min(chosen) < 0 or jobs < 1:
        message = f"seeds are {chosen} and jobs {jobs}; expected different seeds of at least 0, and at least 1 job"
        raise InputError(message)
    if device == "cuda" and not torch.cuda.is_available():
        message = "no CUDA device here to measure on; expected --device cpu or auto"
        raise InputError(message)
    tasks, missing = find_tasks(suite, data, photos, allow_partial)
    if not tasks:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        message = f"there would be nothing to measure ({reasons}); expected --data with data sets, or --photos"
        raise InputError(message)
    training = Training(output, ablation.configs, preset, sizes, {"data.train": train, "data.val": val}, jobs)
    training.check(ablation.variants)
    folder = output / config.stem
    make_folder(folder)
    results = []
    for seed in chosen:
        bundles = {name: training.bundle(variant, seed) for name, variant in ablation.variants.items()}
        asked = _suite_of(ablation, suite, seed)
        results += measure_suite(asked, folder / f"seed-{seed}", bundles, data, photos, allow_partial, device=device)
    words = f"Preset {preset}; steps: {_in_words(sizes)}."
    table = ablation_markdown(ablation, results, chosen, words)
    values = ablation_values(ablation, results, chosen, words)
    write_text(folder / "ablation.json", json.dumps(values, indent=2) + "\n")
    write_text(folder / "ablation.md", table)
    print(f"\n{table}\nwritten to {folder}: ablation.md, ablation.json")


def _suite_of(ablation: Ablation, suite: Suite, seed: int) -> Suite:
    """The suite with the variants as its methods; all seeds are measured on the same images."""
    methods = {name: Method(variant.title, variant.blend, name) for name, variant in ablation.variants.items()}
    return Suite(f"{ablation.title}, seed {seed}", suite.tasks, methods, seed=suite.seed)


def _in_words(scale: PhaseOptions) -> str:
    return ", ".join(f"{phase} {scale.of(phase).get('trainer.max_steps', 'as shipped')}" for phase in PHASES)
