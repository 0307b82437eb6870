import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abair_pl.bundle import Bundle
from abair_pl.bundle_config import write_config
from abair_pl.errors import InputError
from abair_pl.modules.tracking import (
    RunIdentity,
    RunRecord,
    TrackingConfig,
    going_on,
    identify,
    without_secrets,
)

RECORD = RunRecord("a project", "a group", "1a2b3c4d")
IDENTITY = RunIdentity(RECORD, "adapter-rain", "adapter")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_PROJECT", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def who(config: TrackingConfig | None = None, **changes: Any) -> RunIdentity:
    """The identity of a phase I run from scratch; keywords change that."""
    given = {"command": "fit", "phase": "pretrain", "preset": "tiny", "start": None, "checkpoint": None, **changes}
    return identify(config or TrackingConfig(), **given)


def with_run(bundle: Bundle, record: RunRecord) -> Bundle:
    """The bundle as a tracked phase I leaves it."""
    facts = bundle.config.provenance
    pretrain = {**facts["pretrain"], **record.facts}
    write_config(bundle.path, replace(bundle.config, provenance={**facts, "pretrain": pretrain}))
    return Bundle.open(bundle.path)


def test_phase_one_begins_a_group() -> None:
    first, second = who(), who()
    assert first.record.group == f"tiny-{first.record.run}"
    assert (first.record.project, first.name, first.job_type) == ("abair-pl", "pretrain", "pretrain")
    assert first.record.run != second.record.run
    assert len(first.record.run) == 8


def test_later_phases_join_the_group_of_their_bundle(bundle_copy: Path) -> None:
    start = with_run(Bundle.open(bundle_copy), RECORD)
    adapter = who(phase="adapter/rain", start=start)
    estimator = who(phase="estimator", start=start)
    assert (adapter.name, adapter.job_type) == ("adapter-rain", "adapter")
    assert (estimator.name, estimator.job_type) == ("estimator", "estimator")
    for identity in (adapter, estimator):
        assert (identity.record.project, identity.record.group) == ("a project", "a group")
        assert identity.record.run != RECORD.run


def test_phases_of_a_bundle_that_was_not_tracked_find_each_other(bundle: Bundle) -> None:
    groups = {who(phase=phase, start=bundle).record.group for phase in ("adapter/rain", "adapter/haze", "estimator")}
    assert groups == {f"nano-{bundle.config.backbone_sha256[:8]}"}


def test_what_the_user_says_goes_first(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "of the environment")
    assert who().record.project == "of the environment"
    start = with_run(Bundle.open(bundle_copy), RECORD)
    assert who(start=start).record.project == "a project"
    config = TrackingConfig("offline", project="mine", group="ours", name="title")
    identity = who(config, phase="adapter/rain", start=start)
    assert (identity.record.project, identity.record.group, identity.name) == ("mine", "ours", "title")


def test_a_sweep_gives_the_run_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "of-the-sweep")
    assert who().record == RunRecord("abair-pl", "tiny-of-the-sweep", "of-the-sweep")


def test_a_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "checkpoints")
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    assert who(checkpoint=str(checkpoint)).record == RECORD
    measured = who(checkpoint=str(checkpoint), command="test")
    assert (measured.record.project, measured.record.group) == (RECORD.project, RECORD.group)
    assert measured.record.run != RECORD.run
    assert (measured.name, measured.job_type) == ("pretrain-test", "test")
    assert who(TrackingConfig("offline", project="another"), checkpoint=str(checkpoint)).record.run != RECORD.run
    assert who(checkpoint=str(tmp_path / "last.ckpt")).record.run != RECORD.run


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"project": "a"}', '{"project": "a", "group": "b", "other": 1}'])
def test_a_damaged_file_beside_a_checkpoint_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "tracking.json").write_text(text)
    with pytest.raises(InputError, match=r"tracking\.json is damaged .*remove it to start a new W&B run"):
        RunRecord.of_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("keyword", ["last", "hpc", "best"])
def test_a_keyword_is_no_path(keyword: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunRecord("of the current folder", "another", "2b").write(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert RunRecord.of_checkpoint(keyword) is None
    assert RunRecord.of_checkpoint("registry:a-model") is None
    assert RunRecord.of_checkpoint("a.ckpt") == RunRecord("of the current folder", "another", "2b")


@pytest.mark.parametrize("name", ["project", "group", "name", "tags"])
def test_what_is_said_of_wandb_needs_it(name: str) -> None:
    given: dict[str, Any] = {name: ["a"] if name == "tags" else "a"}
    with pytest.raises(InputError, match=rf"--tracking\.{name} is W&B's; expected --tracking\.wandb online or offline"):
        TrackingConfig(tensorboard=True, **given)
    assert TrackingConfig("offline", **given).wandb


def test_facts_of_a_run_come_back() -> None:
    assert RunRecord.of_facts({"steps": 3, **RECORD.facts}) == RECORD
    assert RunRecord.of_facts({"steps": 3}) is None
    assert RunRecord.of_facts({**RECORD.facts, "wandb_run": ""}) is None


def test_settings_leave_without_secrets() -> None:
    settings = {
        "train": {"https://me:word@host/a.tar?token=1": 1.0, "shards/train": 2.0},
        "val": ["s3://bucket/a.tar", "pipe:curl -H token"],
        "text": '["https://host/a.tar", "https://me:word@host/b.tar"]',
        "logger": {"api_key": "word", "API_Token": "word", "password": "word", "client_secret": "word", "name": "a"},
        "batch_size": 3,
        "none": None,
    }
    expected = {
        "train": {"https://host/a.tar": 1.0, "shards/train": 2.0},
        "val": ["s3://bucket/a.tar", "pipe:"],
        "text": '["https://host/a.tar", "https://host/b.tar"]',
        "logger": {"name": "a"},
        "batch_size": 3,
        "none": None,
    }
    assert without_secrets(settings) == expected
    json.dumps(without_secrets(settings))


def test_only_errors_are_passed_over() -> None:
    with pytest.warns(UserWarning, match=r"W&B failed to draw \(ValueError\)"), going_on("to draw"):
        raise ValueError
    with pytest.raises(KeyboardInterrupt), going_on("to draw"):
        raise KeyboardInterrupt
