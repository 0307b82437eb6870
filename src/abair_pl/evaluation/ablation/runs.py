"""The trainings of an ablation: each an ordinary ``abair-pl fit``, done once, gone on with after an interruption."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from abair_pl.bundle import Bundle
from abair_pl.errors import InputError
from abair_pl.evaluation.ablation.fits import arguments, fit, fit_settings
from abair_pl.evaluation.ablation.variants import PHASES, Options, PhaseOptions, Variant
from abair_pl.images import make_folder
from abair_pl.models.presets import preset_config


@dataclass(frozen=True)
class Run:
    """A run of a phase: one fit, in phase II one for each adapter.

    Attributes:
        phase: Which.
        folder: Where everything that it makes is.
        config: The phase's configuration.
        options: What it changes.
        jobs: How many fits run side by side.
    """

    phase: str
    folder: Path
    config: Path
    options: Options
    jobs: int

    @property
    def bundle(self) -> Path:
        """What it makes."""
        return self.folder / "bundle"

    def train(self, adapter: str = "") -> None:
        """Train, unless that is done already; from the last checkpoint, where an interrupted fit has left one.

        Args:
            adapter: Which one, in phase II.

        Raises:
            AbairError: It failed; the error names its log.
        """
        if self._is_done(adapter):
            return
        name = adapter or self.phase
        own: Options = {"trainer.logger.name": name, "resume": "auto"}
        if adapter:
            own["model.degradation"] = adapter
        make_folder(self.folder)
        fit(self.config, arguments({**self.options, **own}), self.folder / f"{name}.log", self.jobs)

    def _is_done(self, adapter: str) -> bool:
        if not (self.bundle / "config.json").exists():
            return False
        made = Bundle.open(self.bundle)
        if self.phase == "estimator":
            return made.estimator_is_current
        return not adapter or adapter in made.config.adapters


@dataclass(frozen=True)
class Training:
    """What all runs of an ablation share.

    Attributes:
        output: Folder of the ablation.
        configs: Folder of the configurations of the phases.
        preset: Size of the network.
        scale: How large the runs are.
        data: ``data.train`` and ``data.val``, for variants that do not say otherwise.
        jobs: Adapters trained side by side.
        data_digest: Of the shards; other ones under the same names are other runs.
    """

    output: Path
    configs: Path
    preset: str
    scale: PhaseOptions
    data: Options
    jobs: int = 1
    data_digest: str = ""

    def check(self, variants: Mapping[str, Variant]) -> None:
        """Parse the options of all runs before the first one.

        Raises:
            InputError: The preset, a configuration or an option is wrong, or the preset is none for a blend.
        """
        has_head = preset_config(self.preset).head_dim > 0
        for name, variant in variants.items():
            if variant.blend == "pixel" and not has_head:
                message = (
                    f"variant {name} blends per pixel, and preset {self.preset} has no segmentation head for that; "
                    "expected tiny, small or paper: choose another --preset, or leave the variant out"
                )
                raise InputError(message)
            for phase in PHASES:
                try:
                    self._settings(phase, variant)
                except InputError as error:
                    message = f"variant {name}, phase {phase}: {error}"
                    raise InputError(message) from error

    def bundle(self, variant: Variant, seed: int) -> Path:
        """The bundle of a variant, trained where it is not there yet.

        Raises:
            AbairError: A run failed; the error names its log.
        """
        pretrained = self._run("pretrain", variant, seed)
        pretrained.train()
        adapters = self._run("adapter", variant, seed, pretrained.bundle)
        self._train_side_by_side(adapters, Bundle.open(pretrained.bundle).config.degradations)
        estimator = self._run("estimator", variant, seed, adapters.bundle)
        estimator.train()
        return estimator.bundle

    def _train_side_by_side(self, run: Run, adapters: Sequence[str]) -> None:
        """Train adapters; when one fails, or this process is interrupted, no further one begins."""
        stop = Event()

        def train(adapter: str) -> None:
            try:
                if not stop.is_set():
                    run.train(adapter)
            except BaseException:
                stop.set()
                raise

        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                for each in as_completed([pool.submit(train, adapter) for adapter in adapters]):
                    each.result()
            finally:
                stop.set()

    def _run(self, phase: str, variant: Variant, seed: int, start: Path | None = None) -> Run:
        """A run of a phase, in a folder that is named by all that shapes it; ``start`` is the bundle before."""
        shaping = [phase, self._settings(phase, variant), seed, _weights(start), self.data_digest]
        digest = hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:12]
        folder = self.output / "runs" / f"{phase}-seed-{seed}-{digest}"
        own = {"seed_everything": seed, "data.seed": seed, "model.save_to": str(folder / "bundle")}
        own |= {"trainer.default_root_dir": str(folder), "trainer.logger.save_dir": str(folder)}
        if start is not None:
            own["model.init_from"] = str(start)
        jobs = self.jobs if phase == "adapter" else 1
        return Run(phase, folder, self._config(phase), {**self._options(phase, variant), **own}, jobs)

    def _settings(self, phase: str, variant: Variant) -> str:
        return fit_settings(self._config(phase), tuple(arguments(self._options(phase, variant))))

    def _options(self, phase: str, variant: Variant) -> Options:
        own = {"model.preset": self.preset} if phase == "pretrain" else {}
        plain = {"trainer.enable_progress_bar": False}  # the output is a log
        return {**plain, **self.data, **self.scale.of(phase), **variant.options.of(phase), **own}

    def _config(self, phase: str) -> Path:
        return self.configs / f"{phase}.yaml"


def _weights(start: Path | None) -> list[Any]:
    """What identifies the weights that a run starts from."""
    if start is None:
        return []
    bundle = Bundle.open(start)
    return [bundle.config.backbone_sha256, bundle.adapter_digests()]
