"""``abair-pl ablate``: variants of the three phases with several seeds, trained, measured and compared."""

import json
from pathlib import Path
from typing import Literal

from abair_pl.atomic import write_text
from abair_pl.data.streaming.beside import digest_of, samples_in
from abair_pl.data.streaming.sources import expand_shards
from abair_pl.errors import InputError
from abair_pl.evaluation.ablation.runs import Training
from abair_pl.evaluation.ablation.table import ablation_markdown, ablation_values
from abair_pl.evaluation.ablation.variants import PHASES, Ablation, PhaseOptions, read_ablation, read_scale
from abair_pl.evaluation.benchmark.command import Execution, ImagePlaces, measure_suite
from abair_pl.evaluation.benchmark.tasks import find_tasks
from abair_pl.evaluation.results import Results
from abair_pl.evaluation.suite import Method, Suite, read_suite
from abair_pl.images import make_folder
from abair_pl.restore_options import check_device


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
    variants: list[str] | None = None,
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
        variants: Only these; all if left out.
        jobs: Adapters trained side by side.
        device: Where results are measured; auto takes a GPU where there is one.

    Raises:
        InputError: An option or a configuration is wrong, or shards are missing.
        AbairError: A training failed; the error names its log.
    """
    ablation = read_ablation(config).only(variants)
    sizes = PhaseOptions() if scale is None else read_scale(scale)
    suite = read_suite(ablation.suite)
    chosen = [0, 1, 2] if seeds is None else seeds
    if len(set(chosen)) < len(chosen) or min(chosen) < 0 or jobs < 1:
        message = f"seeds are {chosen} and jobs {jobs}; expected different seeds of at least 0, and at least 1 job"
        raise InputError(message)
    check_device(device)
    find_tasks(suite, data, photos, allow_partial)  # refuses now what could not be measured after days
    shards = [expand_shards(train), expand_shards(val)]
    for each in shards:
        samples_in(each)
    sources, digest = {"data.train": train, "data.val": val}, " ".join(map(digest_of, shards))
    training = Training(output, ablation.configs, preset, sizes, sources, jobs, digest)
    training.check(ablation.variants)
    folder = output / config.stem
    make_folder(folder)
    places, execution = ImagePlaces(data, photos, allow_partial), Execution(device=device)
    results: list[Results] = []
    for seed in chosen:
        bundles = {name: training.bundle(variant, seed) for name, variant in ablation.variants.items()}
        asked = _suite_of(ablation, suite, seed)
        measured = measure_suite(asked, folder / f"seed-{seed}", bundles, places, execution)
        results += [measured] if measured is not None else []
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
