import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from abair_pl.atomic import locked
from abair_pl.batch import RestorationBatch
from abair_pl.bundle import BACKBONE_FILE, ESTIMATOR_FILE, Bundle
from abair_pl.bundle_config import write_config
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.manifest import file_sha256
from abair_pl.modules.adapter import AdapterModule
from abair_pl.modules.callbacks import artifacts
from abair_pl.modules.callbacks.artifacts import reference
from abair_pl.modules.estimator import EstimatorModule
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule
from abair_pl.modules.tracking import RunRecord

Fit = Callable[..., L.Trainer]
ABOUT = ["README.md", "config.json"]


@pytest.fixture
def tracked(bundle_copy: Path) -> Path:
    """A complete bundle whose phases I and II were tracked, each in another project."""
    config = Bundle.open(bundle_copy).config
    runs = {phase: RunRecord(f"of {phase}", "a group", "9z").facts for phase in ("pretrain", "adapter/rain")}
    facts = {phase: {**values, **runs.get(phase, {})} for phase, values in config.provenance.items()}
    write_config(bundle_copy, replace(config, provenance=facts))
    return bundle_copy


def contents(artifact: Any) -> list[str]:
    return sorted(artifact.manifest.entries)


def test_phase_one_logs_the_whole_bundle(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit, offline_logger: Any
) -> None:
    fit(module, batches, logger=offline_logger)
    ((artifact, aliases),) = offline_logger.run.logged
    bundle = Bundle.open(module.save_to)
    assert (artifact.name, artifact.type) == ("pretrain-group", "bundle")
    assert aliases == ["latest", bundle.config.backbone_sha256[:12]]
    assert contents(artifact) == sorted([*ABOUT, BACKBONE_FILE])
    assert artifact.metadata["sha256"][BACKBONE_FILE] == bundle.config.backbone_sha256
    assert artifact.metadata["provenance"] == bundle.config.provenance["pretrain"]
    assert artifact.metadata["inputs"] == []


def test_a_disabled_run_is_left_alone(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit, offline_logger: Any
) -> None:
    offline_logger.run.disabled = True
    fit(module, batches, logger=offline_logger)
    assert offline_logger.run.logged == []
    assert Bundle.open(module.save_to)


def test_what_is_logged_stays_as_it_was(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit, offline_logger: Any
) -> None:
    """A later phase replaces files of the bundle before W&B is given them."""
    fit(module, batches, logger=offline_logger)
    ((artifact, _),) = offline_logger.run.logged
    kept = Path(artifact.manifest.entries["config.json"].local_path)
    before = kept.read_text()
    bundle = Bundle.open(module.save_to)
    write_config(module.save_to, replace(bundle.config, preset="another"))
    assert kept.read_text() == before != (module.save_to / "config.json").read_text()
    weights = Path(artifact.manifest.entries[BACKBONE_FILE].local_path)
    assert weights.is_relative_to(Path(offline_logger.run.dir).parent)
    assert weights.samefile(module.save_to / BACKBONE_FILE), "weights should take no room twice"


def test_files_are_copied_where_there_are_no_hard_links(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    offline_logger: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr("abair_pl.modules.callbacks.artifacts.os.link", refuse)
    fit(module, batches, logger=offline_logger)
    ((artifact, _),) = offline_logger.run.logged
    weights = Path(artifact.manifest.entries[BACKBONE_FILE].local_path)
    assert weights.read_bytes() == (module.save_to / BACKBONE_FILE).read_bytes()
    assert not weights.samefile(module.save_to / BACKBONE_FILE)


def test_an_adapter_is_logged_without_the_backbone(
    tracked: Path,
    fast: OptimizationConfig,
    make_batch: Callable[..., RestorationBatch],
    fit: Fit,
    offline_logger: Any,
    tmp_path: Path,
) -> None:
    module = AdapterModule(tracked, tmp_path / "bundle", "noise", optimization=fast)
    fit(module, [make_batch([1, 1], classes=2)], logger=offline_logger)
    ((artifact, aliases),) = offline_logger.run.logged
    folder = [f"adapters/noise/{name}" for name in ("adapter_config.json", "adapter_model.safetensors")]
    assert contents(artifact) == sorted([*ABOUT, *folder])
    assert artifact.name == "adapter-noise-group"
    assert aliases == ["latest", Bundle.open(module.save_to).adapter_digests()["noise"][:12]]
    bundle = Bundle.open(tracked)
    backbone, rain = bundle.config.backbone_sha256[:12], bundle.adapter_digests()["rain"][:12]
    used = [f"of pretrain/pretrain-a-group:{backbone}", f"of adapter/rain/adapter-rain-a-group:{rain}"]
    assert artifact.metadata["inputs"] == offline_logger.run.settings["inputs"]["artifacts"] == used
    facts = offline_logger.run.settings["inputs"]["bundle"]
    assert facts["backbone_sha256"] == bundle.config.backbone_sha256
    assert facts["adapters"] == bundle.adapter_digests()


def test_an_estimator_is_logged_alone(
    tracked: Path,
    fast: OptimizationConfig,
    make_batch: Callable[..., RestorationBatch],
    fit: Fit,
    offline_logger: Any,
    tmp_path: Path,
) -> None:
    module = EstimatorModule(tracked, tmp_path / "bundle", optimization=fast)
    fit(module, [make_batch([1, 2, 3])], logger=offline_logger)
    ((artifact, aliases),) = offline_logger.run.logged
    assert contents(artifact) == sorted([*ABOUT, ESTIMATOR_FILE])
    assert aliases == ["latest", Bundle.open(module.save_to).config.estimator_sha256[:12]]


def test_what_was_used_is_marked_online(
    tracked: Path,
    fast: OptimizationConfig,
    make_batch: Callable[..., RestorationBatch],
    fit: Fit,
    fake_logger: Any,
    tmp_path: Path,
) -> None:
    """Those of another project with it; the used version is the one that the phase logged."""
    fake_logger.run.project = "of pretrain"
    fit(
        AdapterModule(tracked, tmp_path / "bundle", "noise", optimization=fast),
        [make_batch([1, 1], classes=2)],
        logger=fake_logger,
    )
    bundle = Bundle.open(tracked)
    logged = reference(RunRecord("of pretrain", "a group", "9z"), "pretrain", bundle)
    rain = reference(RunRecord("of adapter/rain", "a group", "9z"), "adapter/rain", bundle)
    assert fake_logger.run.used == [
        f"{logged.name}:{logged.alias}",
        f"someone/of adapter/rain/{rain.name}:{rain.alias}",
    ]


def test_a_version_that_wandb_does_not_have_ends_no_run(
    tracked: Path,
    fast: OptimizationConfig,
    make_batch: Callable[..., RestorationBatch],
    fit: Fit,
    fake_logger: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        message = "not found"
        raise ValueError(message)

    monkeypatch.setattr(fake_logger.run, "use_artifact", refuse)
    module = AdapterModule(tracked, tmp_path / "bundle", "noise", optimization=fast)
    with pytest.warns(UserWarning, match=r"to find of pretrain/pretrain-a-group:\w+ \(not found\);.*with wandb sync"):
        fit(module, [make_batch([1, 1], classes=2)], logger=fake_logger)
    assert Bundle.open(module.save_to)


@pytest.mark.parametrize("offline", [True, False])
def test_manifests_are_artifacts(
    module: PretrainModule,
    sample_shards: Path,
    make_trainer: Fit,
    fake_logger: Any,
    offline: bool,
) -> None:
    """Used online, which offline W&B does not allow."""
    fake_logger.run.offline = offline
    train, val = sample_shards / "train", sample_shards / "val"
    data = RestorationDataModule(str(train), str(val), batch_size=2, patch_px=32, val_patch_px=32, workers=0)
    make_trainer(logger=fake_logger, max_steps=1, limit_val_batches=0).fit(module, datamodule=data)
    run = fake_logger.run
    logged = [artifact for artifact, _ in run.logged if artifact.type == "dataset"]
    assert (logged == []) is not offline
    artifacts = logged if offline else run.used
    digests = {str(folder / "manifest.json"): file_sha256(folder / "manifest.json") for folder in (train, val)}
    names = [f"shards-{name}-{digest[:8]}" for name, digest in zip(("train", "val"), digests.values(), strict=True)]
    assert [artifact.name for artifact in artifacts] == names
    assert run.settings["inputs"]["manifests"] == digests
    for artifact, folder, use in zip(artifacts, (train, val), ("train", "val"), strict=True):
        facts = artifact.metadata
        assert contents(artifact) == ["manifest.json"]
        assert facts["sha256"] == digests[str(folder / "manifest.json")]
        assert (facts["samples"], facts["layout"], facts["used_for"]) == (8, "clean", [use])
        json.dumps(facts)


def test_a_manifest_of_both_uses_is_logged_once(
    module: PretrainModule, sample_shards: Path, make_trainer: Fit, offline_logger: Any
) -> None:
    shards = str(sample_shards / "train")
    data = RestorationDataModule(shards, shards, batch_size=2, patch_px=32, val_patch_px=32, workers=0)
    make_trainer(logger=offline_logger, max_steps=1, limit_val_batches=0).fit(module, datamodule=data)
    (artifact,) = [artifact for artifact, _ in offline_logger.run.logged if artifact.type == "dataset"]
    assert artifact.metadata["used_for"] == ["train", "val"]


class FailingRun:
    """Refuses all that a W&B run is asked for, but to say what it is."""

    def __init__(self, run: Any) -> None:
        self.run, self.asked = run, 0

    def __getattr__(self, name: str) -> Any:
        if name in {"id", "project", "group", "entity", "offline", "disabled", "dir"}:
            return getattr(self.run, name)
        self.asked += 1
        message = "no connection"
        raise ConnectionError(message)


@pytest.mark.parametrize("offline", [True, False])
def test_a_run_that_fails_ends_no_training(
    module: PretrainModule,
    sample_shards: Path,
    make_trainer: Fit,
    fake_logger: Any,
    offline: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_logger.run.offline = offline
    fake_logger.run = FailingRun(fake_logger.run)
    monkeypatch.setattr(fake_logger, "log_metrics", lambda *_, **__: None)  # Lightning's own business
    monkeypatch.setattr(fake_logger, "log_table", lambda *_, **__: fake_logger.run.log())
    shards = str(sample_shards / "train")
    data = RestorationDataModule(shards, shards, batch_size=2, patch_px=32, val_patch_px=32, workers=0)
    module.has_weights = True
    often = {"limit_val_batches": 1, "val_check_interval": 1, "check_val_every_n_epoch": None}
    trainer = make_trainer(logger=fake_logger, max_steps=1, **often)
    with pytest.warns(UserWarning, match=r"W&B failed to log the panel \(no connection\)") as warned:
        trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data, verbose=False)
    said = [str(warning.message) for warning in warned]
    for what in ("inputs", "panel", "bundle", "tables"):
        assert any(f"to log the {what} (no connection)" in line for line in said)
    assert Bundle.open(module.save_to)


def test_manifests_that_are_refused_end_no_training(
    module: PretrainModule, sample_shards: Path, make_trainer: Fit, fake_logger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        message = "not found"
        raise ValueError(message)

    monkeypatch.setattr(fake_logger.run, "use_artifact", refuse)
    shards = str(sample_shards / "train")
    data = RestorationDataModule(shards, shards, batch_size=2, patch_px=32, val_patch_px=32, workers=0)
    with pytest.warns(UserWarning, match=r"to log .*manifest\.json \(not found\)"):
        make_trainer(logger=fake_logger, max_steps=1, limit_val_batches=0).fit(module, datamodule=data)
    assert [artifact.type for artifact, _ in fake_logger.run.logged] == ["bundle"]


def test_names_are_as_long_as_wandb_allows(bundle: Bundle) -> None:
    names = [reference(RunRecord("p", "g" * 200 + end, "1"), "pretrain", bundle).name for end in ("a", "b")]
    assert [len(name) for name in names] == [128, 128]
    assert names[0] != names[1]
    assert len(reference(RunRecord("p", "g" * 119, "1"), "pretrain", bundle).name) == 128


def test_texts_are_copied(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit, offline_logger: Any
) -> None:
    fit(module, batches, logger=offline_logger)
    ((artifact, _),) = offline_logger.run.logged
    for name in ABOUT:
        copy = Path(artifact.manifest.entries[name].local_path)
        assert copy.read_bytes() == (module.save_to / name).read_bytes()
        assert not copy.samefile(module.save_to / name), "someone may edit the text in place"


def test_no_one_else_writes_the_bundle_meanwhile(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    offline_logger: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or the digests would be of other files than those that are sent."""
    refused: list[Path] = []

    def copies(run: Any, name: str, folder: Path, files: list[Path]) -> dict[str, Path]:
        with pytest.raises(BlockingIOError), locked(folder, wait=False):
            pass
        refused.append(folder)
        return made(run, name, folder, files)

    made = artifacts._copies
    monkeypatch.setattr(artifacts, "_copies", copies)
    fit(module, batches, logger=offline_logger)
    assert refused == [module.save_to]
    ((artifact, _),) = offline_logger.run.logged
    sent = {inside: file_sha256(Path(entry.local_path)) for inside, entry in artifact.manifest.entries.items()}
    assert artifact.metadata["sha256"] == sent


def test_nothing_is_logged_where_no_bundle_was_written(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    offline_logger: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though there is one, of an earlier run."""
    fit(module, batches)
    assert Bundle.open(module.save_to)
    monkeypatch.setattr(PretrainModule, "on_fit_end", lambda _: None)
    fit(module, batches, logger=offline_logger)
    assert offline_logger.run.logged == []


def test_the_checkpoint_that_is_measured_is_among_the_inputs(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    make_trainer: Fit,
    data: Callable[..., L.LightningDataModule],
    offline_logger: Any,
    tmp_path: Path,
) -> None:
    trainer = fit(module, batches, logger=offline_logger)
    assert offline_logger.run.settings["inputs"]["checkpoint"] is None
    checkpoint, record = tmp_path / "kept" / "last.ckpt", RunRecord("a project", "a group", "9z")
    trainer.save_checkpoint(checkpoint)
    record.write(checkpoint.parent)
    tester = make_trainer(logger=offline_logger)
    tester.test(module, datamodule=data(batches), ckpt_path=str(checkpoint), verbose=False, weights_only=True)
    facts = offline_logger.run.settings["inputs"]["checkpoint"]
    assert facts == {"path": str(checkpoint), "run": {"project": "a project", "group": "a group", "run": "9z"}}
