import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import BACKBONE_FILE, ESTIMATOR_FILE, Bundle
from abair_pl.bundle_config import write_config
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.manifest import file_sha256
from abair_pl.modules.adapter import AdapterModule
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
    with pytest.warns(UserWarning, match=r"W&B has no of pretrain/pretrain-a-group:\w+ \(not found\).*wandb sync"):
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
    assert [artifact.name for artifact in artifacts] == ["shards-train", "shards-val"]
    digests = {str(folder / "manifest.json"): file_sha256(folder / "manifest.json") for folder in (train, val)}
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
