"""Processes that are killed while they write to a bundle: at each call that gives, takes or removes a name."""

import itertools
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fuzz.corpus import ADAPTERS, make_bundle

from abair_pl.bundle import Bundle, save_adapter, save_backbone, save_estimator
from abair_pl.bundle_commands.adapters import remove_adapter
from abair_pl.cli import main
from abair_pl.models.adapters import LoRA
from abair_pl.models.backbone import Backbone
from abair_pl.models.estimator import Estimator

CALLS = ("replace", "rename", "unlink", "rmdir")
NEW = LoRA(rank=2)
Write = Callable[[Path], Any]
Writes = Callable[[str], Write]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle of very small parts; not to be changed."""
    return make_bundle(tmp_path_factory.mktemp("small") / "bundle").path


@pytest.fixture(scope="module")
def writes(small: Path, make_adapter: Callable[..., Any]) -> Writes:
    """``writes(what)``: what writes a new part to a bundle."""
    bundle = Bundle.open(small)
    models = {name: make_adapter(bundle, name, NEW, seed=9) for name in ("rain", "snow")}

    def write(what: str) -> Write:
        def backbone(path: Path) -> None:
            torch.manual_seed(8)
            made = Backbone(bundle.config.architecture, len(bundle.config.degradations) + 1)
            save_backbone(path, made, "toy", bundle.config.degradations, {"new": True})

        def estimator(path: Path) -> None:
            torch.manual_seed(8)
            save_estimator(path, Bundle.open(path), Estimator(4, len(ADAPTERS) + 1), {"new": True})

        def adapter(path: Path) -> None:
            save_adapter(path, Bundle.open(path), what, models[what], NEW, {"new": True})

        known: dict[str, Write] = {"backbone": backbone, "estimator": estimator}
        known["removal"] = lambda path: remove_adapter(path, name="rain")
        return known.get(what, adapter)

    return write


def killed(write: Write, path: Path, calls: int) -> bool:
    """Run a write in a process that kills itself before one of its calls; False if it ends before that."""

    def run() -> None:
        left = [calls]

        def wrap(name: str) -> None:
            original = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] == -1:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **options)

            setattr(os, name, call)

        for name in CALLS:
            wrap(name)
        write(path)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def opened(path: Path) -> dict[str, str]:
    """What a bundle gives when it is opened: the digests of its parts and the settings of its adapters."""
    bundle = Bundle.open(path)
    for name, adapter in bundle.adapters().items():
        assert {len(update.down) for update in adapter.values()} == {bundle.config.adapters[name].rank}
    if bundle.estimator_is_current:
        bundle.estimator()
    config = bundle.config
    parts = {"backbone": config.backbone_sha256, "estimator": config.estimator_sha256, **bundle.adapter_digests()}
    return {**parts, "settings": str(config.adapters), "facts": str(config.provenance)}


def hidden(path: Path) -> list[str]:
    """What writes leave if they are killed, in a bundle and beside it."""
    return [str(entry) for entry in path.parent.rglob(".*") if entry.name != ".lock"]


@pytest.mark.parametrize("what", ["rain", "snow", "estimator", "removal"])
def test_a_killed_write_leaves_the_old_or_the_new_bundle(
    what: str, small: Path, writes: Writes, tmp_path: Path
) -> None:
    write, states = writes(what), []
    write(Path(shutil.copytree(small, tmp_path / "done" / "bundle")))
    before, after = opened(small), opened(tmp_path / "done" / "bundle")
    assert before != after
    for calls in itertools.count():
        path = Path(shutil.copytree(small, tmp_path / str(calls) / "bundle"))
        if not killed(write, path, calls):
            break
        found = opened(path)
        assert found in (before, after), calls
        states.append(found == after)
        gone = what == "removal" and states[-1]
        (writes("snow") if gone else write)(path)
        assert gone or opened(path) == after, calls
        assert hidden(path) == [], calls
    assert set(states) == {False, True}


def test_a_killed_phase_one_leaves_the_old_or_the_new_bundle_or_says_where_the_old_one_is(
    small: Path, writes: Writes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, missing = writes("backbone"), 0
    old, earlier = opened(small), tmp_path / "earlier"
    write(earlier)
    for calls in itertools.count():
        path = Path(shutil.copytree(small, tmp_path / str(calls) / "bundle"))
        shutil.copytree(earlier, path.with_name("bundle.previous"))
        if not killed(write, path, calls):
            break
        if path.exists():
            assert opened(path) in (old, opened(earlier)), calls
        else:
            missing += 1
            assert main(["adapters", "list", str(path)]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert f"no bundle at {path} (no config.json); if its replacement was interrupted, " in line
            assert f"rename {path}.previous, which it was before" in line
            assert opened(Path(f"{path}.previous")) == old
        write(path)
        assert opened(path) == opened(earlier)
        assert hidden(path) == [], calls
    assert missing == 1


def test_a_bundle_from_before_digests_survives_a_kill_too(small: Path, writes: Writes, tmp_path: Path) -> None:
    base = Path(shutil.copytree(small, tmp_path / "old"))
    values = json.loads((base / "config.json").read_text())
    del values["adapter_files"]  # as the version before wrote it
    (base / "config.json").write_text(json.dumps(values))
    write, states = writes("rain"), []
    write(Path(shutil.copytree(base, tmp_path / "done" / "bundle")))
    before, after = opened(base), opened(tmp_path / "done" / "bundle")
    for calls in itertools.count():
        path = Path(shutil.copytree(base, tmp_path / str(calls) / "bundle"))
        if not killed(write, path, calls):
            break
        states.append(opened(path) == after)
        assert states[-1] or opened(path) == before, calls
    assert set(states) == {False, True}
