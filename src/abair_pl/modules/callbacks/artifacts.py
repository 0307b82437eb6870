"""What a run reads and what it makes, as W&B artifacts: bundles and the manifests of shards."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn

from abair_pl.bundle import Bundle
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.manifest import Manifest, file_sha256
from abair_pl.modules.tracking import RunRecord, wandb_loggers

_SHORT = 12
"""Characters of a digest that tell versions apart."""


@dataclass(frozen=True)
class Reference:
    """A version of an artifact, named so that the run that makes it and the one that uses it agree.

    Attributes:
        project: The W&B project.
        name: Of the artifact, such as ``adapter-rain-<group>``.
        alias: Of the version: the first digits of its weights' sha256.
    """

    project: str
    name: str
    alias: str

    def __str__(self) -> str:
        return f"{self.project}/{self.name}:{self.alias}"


def reference(record: RunRecord, phase: str, bundle: Bundle) -> Reference:
    """The artifact of what a phase put into a bundle.

    Args:
        record: The run of the phase.
        phase: As in the provenance, such as ``adapter/rain``.
        bundle: The bundle.
    """
    digests = {f"adapter/{name}": digest for name, digest in bundle.adapter_digests().items()}
    digests |= {"pretrain": bundle.config.backbone_sha256, "estimator": bundle.config.estimator_sha256}
    name = re.sub(r"[^\w.-]", "-", f"{phase}-{record.group}")
    return Reference(record.project, name, digests.get(phase, "")[:_SHORT] or "latest")


class ArtifactLogger(Callback):
    """Gives W&B what a phase makes and reads.

    - The part of the bundle that the phase made, with ``config.json`` and the model card: the backbone, one adapter or
      the estimator. Parts of other phases are artifacts of theirs, and are not sent again.
    - The manifests of the shards.
    - What the run started from: marked as used where W&B is online, which alone allows it; and always in the run's
      config, under ``inputs``, with the digests that tell versions apart.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the run reads."""
        self._log_inputs(trainer, pl_module, ("train", "val"))

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the run reads."""
        self._log_inputs(trainer, pl_module, ("test",))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Log what the run made: Lightning comes here only when the bundle is written."""
        for logger in wandb_loggers(trainer) if stage == "fit" else ():
            run, module = logger.experiment, cast("Any", pl_module)
            bundle = Bundle.open(module.save_to)
            made = reference(RunRecord.of_run(run), module.phase, bundle)
            files = _files(bundle.path, module.part)
            metadata = {
                "phase": module.phase,
                "preset": bundle.config.preset,
                "sha256": {str(file.relative_to(bundle.path)): file_sha256(file) for file in files},
                "provenance": bundle.config.provenance.get(module.phase, {}),
                "inputs": [str(used) for used in _used(module)],
            }
            artifact = _artifact(run, made.name, "bundle", metadata, bundle.path, files)
            run.log_artifact(artifact, aliases=list(dict.fromkeys(["latest", made.alias])))

    def _log_inputs(self, trainer: L.Trainer, module: Any, uses: tuple[Literal["train", "val", "test"], ...]) -> None:
        for logger in wandb_loggers(trainer):
            run, used = logger.experiment, _used(module)
            data = getattr(trainer, "datamodule", None)
            found = {use: data.manifests(use) for use in uses} if isinstance(data, RestorationDataModule) else {}
            manifests = dict.fromkeys(file for files in found.values() for file in files)
            inputs: dict[str, Any] = {
                "artifacts": [str(each) for each in used],
                "manifests": {str(file): file_sha256(file) for file in manifests},
                "bundle": _bundle_facts(module.bundle),
            }
            run.config.update({"inputs": inputs}, allow_val_change=True)
            for file in manifests:
                artifact = _manifest_artifact(run, file, [use for use, files in found.items() if file in files])
                if run.offline:
                    run.log_artifact(artifact)
                else:
                    run.use_artifact(artifact)
            if not run.offline:
                _mark_used(run, used)


def _bundle_facts(bundle: Bundle | None) -> dict[str, Any] | None:
    if bundle is None:
        return None
    config = bundle.config
    digests = {"backbone_sha256": config.backbone_sha256, "adapters": bundle.adapter_digests()}
    return {"path": str(bundle.path), "preset": config.preset, **digests}


def _used(module: Any) -> list[Reference]:
    """The artifacts of the phases whose results a module starts from, of those that were tracked."""
    bundle: Bundle | None = module.bundle
    if bundle is None:
        return []
    records = {phase: RunRecord.of_facts(facts) for phase, facts in bundle.config.provenance.items()}
    return [reference(record, phase, bundle) for phase, record in records.items() if record is not None]


def _mark_used(run: Any, used: list[Reference]) -> None:
    for each in used:
        prefix = "" if each.project == run.project else f"{run.entity}/{each.project}/"
        try:
            run.use_artifact(f"{prefix}{each.name}:{each.alias}", type="bundle")
        except Exception as error:  # whatever W&B raises is no reason to end a training run
            rank_zero_warn(
                f"W&B has no {each} ({error}); the run's config names it under inputs: send the run that made it with "
                "wandb sync"
            )


def _manifest_artifact(run: Any, file: Path, uses: list[str]) -> Any:
    manifest = Manifest.read(file.parent)
    facts = {**asdict(manifest), "shards": len(manifest.shards), "samples": manifest.samples}
    metadata = {**facts, "sha256": file_sha256(file), "folder": str(file.parent), "used_for": uses}
    name = re.sub(r"[^\w.-]", "-", f"shards-{file.parent.resolve().name}")
    return _artifact(run, name, "dataset", metadata, file.parent, [file])


def _files(folder: Path, part: str) -> list[Path]:
    """The files of a part of a bundle, which may be a file or a folder, and those that describe all of it."""
    place = folder / part
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    files = [file for file in files if not any(name.startswith(".") for name in file.relative_to(folder).parts)]
    return list(dict.fromkeys([folder / "config.json", folder / "README.md", *files]))


def _artifact(run: Any, name: str, kind: str, metadata: dict[str, Any], folder: Path, files: list[Path]) -> Any:
    """An artifact of files as they are now, kept in the run's own directory until W&B has them.

    They are hard links where the file system has them, and take no room: files here are replaced, never changed.
    """
    import wandb

    artifact = wandb.Artifact(name, kind, metadata=json.loads(json.dumps(metadata, default=str)))
    place = Path(run.dir).parent / "artifacts"
    place.mkdir(exist_ok=True)
    copies = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place))
    for file in files:
        inside = file.relative_to(folder)
        kept = copies / inside
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, kept)
        except OSError:
            shutil.copyfile(file, kept)
        artifact.add_file(str(kept), str(inside), skip_cache=True, policy="immutable")
    return artifact
