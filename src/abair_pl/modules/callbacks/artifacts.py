"""What a run reads and what it makes, as W&B artifacts: bundles and the manifests of shards."""

import hashlib
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

from abair_pl.atomic import locked
from abair_pl.bundle import Bundle
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.manifest import Manifest, file_sha256
from abair_pl.data.streaming.sources import told
from abair_pl.modules.tracking import RunRecord, going_on, wandb_loggers

_SHORT = 12
"""Characters of a digest that tell versions apart."""

_DATA_DIGITS = 8
"""Of a manifest's digest, which tell data sets in folders of the same name apart."""

_MOST_LETTERS = 128
"""Of an artifact's name in W&B."""


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
    return Reference(record.project, _name(f"{phase}-{record.group}"), digests.get(phase, "")[:_SHORT] or "latest")


def _name(title: str) -> str:
    """A title as the name of an artifact; of one that is too long the end becomes a digest."""
    name = re.sub(r"[^\w.-]", "-", title)
    digest = hashlib.sha256(name.encode()).hexdigest()[:_SHORT]
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - _SHORT - 1]}-{digest}"


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
        _log_inputs(trainer, pl_module, ("train", "val"))

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the run reads."""
        _log_inputs(trainer, pl_module, ("test",))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Log what the run made, if it came to write its bundle."""
        module = cast("Any", pl_module)
        for logger in wandb_loggers(trainer) if stage == "fit" and module.bundle_written else ():
            with going_on("to log the bundle"):
                _log_bundle(logger.experiment, module)


def _log_inputs(trainer: L.Trainer, module: Any, uses: tuple[Literal["train", "val", "test"], ...]) -> None:
    for logger in wandb_loggers(trainer):
        run = logger.experiment
        with going_on("to log the inputs"):
            used, data = _used(module), getattr(trainer, "datamodule", None)
            found = {use: data.manifests(use) for use in uses} if isinstance(data, RestorationDataModule) else {}
            manifests = dict.fromkeys(file for files in found.values() for file in files)
            inputs: dict[str, Any] = {
                "artifacts": [str(each) for each in used],
                "manifests": {str(file): file_sha256(file) for file in manifests},
                "bundle": _bundle_facts(module.bundle),
                "checkpoint": _checkpoint_facts(trainer),
            }
            run.config.update({"inputs": inputs}, allow_val_change=True)
            for file in manifests:
                _log_manifest(run, file, [use for use, files in found.items() if file in files])
            if not run.offline:
                _mark_used(run, used)


def _bundle_facts(bundle: Bundle | None) -> dict[str, Any] | None:
    if bundle is None:
        return None
    config = bundle.config
    digests = {"backbone_sha256": config.backbone_sha256, "adapters": bundle.adapter_digests()}
    return {"path": str(bundle.path), "preset": config.preset, **digests}


def _checkpoint_facts(trainer: L.Trainer) -> dict[str, Any] | None:
    """The checkpoint whose weights are trained on or measured, and the run that made it, if it was tracked."""
    if trainer.ckpt_path is None:
        return None
    record = RunRecord.of_checkpoint(trainer.ckpt_path)
    return {"path": told(str(trainer.ckpt_path)), "run": asdict(record) if record else None}


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
        remedy = ": the run's config names it under inputs; send the run that made it with wandb sync"
        with going_on(f"to find {each}", remedy):
            run.use_artifact(f"{prefix}{each.name}:{each.alias}", type="bundle")


def _log_bundle(run: Any, module: Any) -> None:
    """Log the part of a bundle that a module made, as it is now, whoever else writes the bundle."""
    with locked(module.save_to):
        bundle = Bundle.open(module.save_to)
        made = reference(RunRecord.of_run(run), module.phase, bundle)
        copies = _copies(run, made.name, bundle.path, _files(bundle.path, module.part))
    metadata = {
        "phase": module.phase,
        "preset": bundle.config.preset,
        "sha256": {inside: file_sha256(copy) for inside, copy in copies.items()},
        "provenance": bundle.config.provenance.get(module.phase, {}),
        "inputs": [str(used) for used in _used(module)],
    }
    artifact = _artifact(made.name, "bundle", metadata, copies)
    run.log_artifact(artifact, aliases=list(dict.fromkeys(["latest", made.alias])))


def _log_manifest(run: Any, file: Path, uses: list[str]) -> None:
    with going_on(f"to log {file}"):
        manifest, digest = Manifest.read(file.parent), file_sha256(file)
        facts = {**asdict(manifest), "shards": len(manifest.shards), "samples": manifest.samples}
        metadata = {**facts, "sha256": digest, "folder": str(file.parent), "used_for": uses}
        name = _name(f"shards-{file.parent.resolve().name}-{digest[:_DATA_DIGITS]}")
        artifact = _artifact(name, "dataset", metadata, _copies(run, name, file.parent, [file]))
        if run.offline:
            run.log_artifact(artifact)
        else:
            run.use_artifact(artifact)


def _files(folder: Path, part: str) -> list[Path]:
    """The files of a part of a bundle, which may be a file or a folder, and those that describe all of it."""
    place = folder / part
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    files = [file for file in files if not any(name.startswith(".") for name in file.relative_to(folder).parts)]
    return list(dict.fromkeys([folder / "config.json", folder / "README.md", *files]))


def _copies(run: Any, name: str, folder: Path, files: list[Path]) -> dict[str, Path]:
    """Files as they are now, by their paths in the folder, kept in the run's own directory until W&B has them.

    Weights are hard links where the file system has them, and take no room: they are replaced, never changed.
    """
    place = Path(run.dir).parent / "artifacts"
    place.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place))
    copies = {str(file.relative_to(folder)): root / file.relative_to(folder) for file in files}
    for file, copy in zip(files, copies.values(), strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != ".safetensors" or not _is_linked(file, copy):
            shutil.copyfile(file, copy)
    return copies


def _is_linked(file: Path, copy: Path) -> bool:
    """Whether a hard link could be made."""
    try:
        os.link(file, copy)
    except OSError:
        return False
    return True


def _artifact(name: str, kind: str, metadata: dict[str, Any], copies: dict[str, Path]) -> Any:
    import wandb

    artifact = wandb.Artifact(name, kind, metadata=json.loads(json.dumps(metadata, default=str)))
    for inside, copy in copies.items():
        artifact.add_file(str(copy), inside, skip_cache=True, policy="immutable")
    return artifact
