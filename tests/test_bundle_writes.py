"""Bundles that change: added parts, interrupted writes, several processes."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import torch

from abair_pl.bundle import Bundle, save_adapter, save_backbone, save_estimator
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError
from abair_pl.models.adapters import LoRA
from abair_pl.models.backbone import Backbone
from abair_pl.models.estimator import Estimator


def hashes(path: Path) -> dict[str, str]:
    """The digest of each file of a bundle."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): file_sha256(file) for file in files}


def leftovers(path: Path) -> list[str]:
    """Scratch directories beside or inside a bundle."""
    return [str(entry) for entry in path.parent.rglob(".*") if entry.is_dir()]


def test_a_new_adapter_changes_no_other_file_and_retires_the_estimator(
    bundle_copy: Path, make_adapter: Callable[..., Any]
) -> None:
    bundle, before = Bundle.open(bundle_copy), hashes(bundle_copy)
    bundle.estimator()
    config = LoRA(rank=1)
    changed = save_adapter(bundle_copy, bundle, "snow", make_adapter(bundle, "snow", config), config, {})
    after = hashes(bundle_copy)
    assert {name for name in before if after.get(name) != before[name]} == {"config.json", "README.md"}
    assert all(name.startswith("adapters/snow/") for name in after.keys() - before.keys())
    assert list(changed.config.adapters)[-1] == "snow"
    with pytest.raises(BundleError, match="run phase III"):
        changed.estimator()
    save_estimator(bundle_copy, changed, Estimator(4, 7), {}).estimator()


def test_an_adapter_can_be_trained_again(bundle_copy: Path, make_adapter: Callable[..., Any]) -> None:
    bundle = Bundle.open(bundle_copy)
    model = make_adapter(bundle, "rain", LoRA(rank=8), seed=9)
    again = save_adapter(bundle_copy, bundle, "rain", model, LoRA(rank=8), {})
    assert list(again.config.adapters) == list(bundle.config.adapters)
    assert {update.down.shape[0] for update in again.adapters()["rain"].values()} == {8}
    assert leftovers(bundle_copy) == []


def test_saving_an_adapter_asks_nobody(
    bundle_copy: Path, make_adapter: Callable[..., Any], lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    asked = len(lookups)
    bundle = Bundle.open(bundle_copy)
    save_adapter(bundle_copy, bundle, "snow", make_adapter(bundle, "snow"), LoRA(), {})
    assert lookups[asked:] == []


def test_saving_elsewhere_starts_from_a_copy(
    bundle_path: Path, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    bundle, before = Bundle.open(bundle_path), hashes(bundle_path)
    saved = save_adapter(tmp_path / "new", bundle, "snow", make_adapter(bundle, "snow"), LoRA(), {})
    assert hashes(bundle_path) == before
    assert list(saved.adapters()) == [*bundle.config.adapters, "snow"]
    assert saved.backbone() is not None


def test_the_previous_bundle_is_kept(bundle_copy: Path, make_backbone: Callable[..., Backbone]) -> None:
    before = hashes(bundle_copy)
    for seed in (1, 2):
        bundle = save_backbone(bundle_copy, make_backbone(2, seed=seed), "nano", ["rain"], {})
        assert bundle.config.adapters == {}
        if seed == 1:
            assert hashes(bundle_copy.with_name("bundle.previous")) == before
    assert Bundle.open(bundle_copy.with_name("bundle.previous")).config.degradations == ["rain"]
    assert leftovers(bundle_copy) == []


@pytest.mark.parametrize("save", ["adapter", "estimator"])
def test_a_bundle_of_another_backbone_is_not_added_to(
    save: str, bundle: Bundle, make_adapter: Callable[..., Any], make_backbone: Callable[..., Backbone], tmp_path: Path
) -> None:
    other = save_backbone(tmp_path / "other", make_backbone(seed=3), "nano", ["rain"] * 5, {})
    before = hashes(other.path)
    with pytest.raises(BundleError, match=f"{other.path} has other backbone than {bundle.path}"):
        if save == "adapter":
            save_adapter(other.path, bundle, "snow", make_adapter(bundle, "snow"), LoRA(), {})
        else:
            save_estimator(other.path, bundle, Estimator(4, 6), {})
    assert hashes(other.path) == before


class InterruptedWriteError(Exception):
    """What stops a save in these tests."""


def interrupt(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let so many files or directories get their names, then stop the next once."""
    left = [calls]

    def wrap(name: str) -> None:
        original = getattr(os, name)

        def move(source: Any, target: Any) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise InterruptedWriteError
            original(source, target)

        monkeypatch.setattr(os, name, move)

    wrap("replace")
    wrap("rename")


def save_anything(
    what: str, path: Path, make_backbone: Callable[..., Backbone], make_adapter: Callable[..., Any]
) -> None:
    torch.manual_seed(7)
    bundle = Bundle.open(path)
    if what == "backbone":
        save_backbone(path, make_backbone(seed=1), "nano", bundle.config.degradations, {})
    elif what == "estimator":
        save_estimator(path, bundle, Estimator(4, 6), {})
    else:
        config = LoRA(rank=1)
        save_adapter(path, bundle, what, make_adapter(bundle, what, config), config, {})


@pytest.mark.parametrize("calls", range(4))
@pytest.mark.parametrize("what", ["backbone", "rain", "snow", "estimator"])
def test_an_interrupted_save_leaves_a_readable_bundle(
    what: str,
    calls: int,
    bundle_copy: Path,
    make_backbone: Callable[..., Backbone],
    make_adapter: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt(monkeypatch, calls)
    try:
        save_anything(what, bundle_copy, make_backbone, make_adapter)
    except InterruptedWriteError:
        bundle = Bundle.open(bundle_copy)
        bundle.blended()
        bundle.estimator()
    assert leftovers(bundle_copy) == []


@pytest.mark.parametrize("what", ["backbone", "snow", "estimator"])
def test_weights_that_cannot_be_written_leave_the_bundle_as_it_was(
    what: str,
    bundle_copy: Path,
    make_backbone: Callable[..., Backbone],
    make_adapter: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise InterruptedWriteError

    before = hashes(bundle_copy)
    monkeypatch.setattr("abair_pl.module_files.save_file", fail)
    monkeypatch.setattr("peft.PeftModel.save_pretrained", fail)
    with pytest.raises(InterruptedWriteError):
        save_anything(what, bundle_copy, make_backbone, make_adapter)
    assert hashes(bundle_copy) == before
    assert leftovers(bundle_copy) == []


@pytest.mark.parametrize("calls", range(5))
def test_an_interrupted_copy_can_be_repeated(
    calls: int, bundle: Bundle, make_adapter: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_adapter(bundle, "snow")
    interrupt(monkeypatch, calls)
    with pytest.raises(InterruptedWriteError):
        save_adapter(tmp_path / "new", bundle, "snow", model, LoRA(), {})
    saved = save_adapter(tmp_path / "new", bundle, "snow", model, LoRA(), {})
    assert list(saved.adapters()) == [*bundle.config.adapters, "snow"]


class SlowModel:
    """Takes its time to save, so that two of them overlap."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def save_pretrained(self, *arguments: Any, **options: Any) -> None:
        time.sleep(0.5)
        self.model.save_pretrained(*arguments, **options)


def add_adapter(path: Path, base: Bundle, name: str, model: SlowModel, barrier: Barrier) -> None:
    barrier.wait(30)
    save_adapter(path, base, name, model, LoRA(), {"by": name})


def test_two_processes_add_adapters_at_once(
    backbone_path: Path, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    base, path = Bundle.open(backbone_path), tmp_path / "shared"
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(2)
    models = {name: SlowModel(make_adapter(base, name)) for name in ("rain", "snow")}
    processes = [fork.Process(target=add_adapter, args=(path, base, *item, barrier)) for item in models.items()]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    bundle = Bundle.open(path)
    assert set(bundle.config.adapters) == set(bundle.adapters()) == {"rain", "snow"}
    assert {"pretrain", "adapter/rain", "adapter/snow"} == set(bundle.config.provenance)


def test_adapters_stand_in_the_order_of_the_labels(
    backbone_path: Path, make_adapter: Callable[..., Any], names: list[str], tmp_path: Path
) -> None:
    base, config = Bundle.open(backbone_path), LoRA()
    for name in ["dust", *reversed(names), "ash"]:
        saved = save_adapter(tmp_path / "bundle", base, name, make_adapter(base, name, config), config, {})
    assert list(saved.config.adapters) == [*names, "dust", "ash"]
