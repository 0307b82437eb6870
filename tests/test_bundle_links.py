"""Links and pipes in a bundle that a stranger has sent: nothing outside of it is read, changed or waited for."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from abair_pl.atomic import locked
from abair_pl.bundle import Bundle
from abair_pl.bundle_commands.adapters import add_adapter
from abair_pl.bundle_files import copy_bundle
from abair_pl.errors import BundleError


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the user's, of the name of an adapter."""
    folder = tmp_path / "home" / "rain"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    return folder


def without_adapters(bundle: Path) -> None:
    file = bundle / "config.json"
    values = json.loads(file.read_text())
    values |= {"adapters": {}, "adapter_files": {}, "estimated": {}, "estimator_sha256": ""}
    file.write_text(json.dumps(values))


def test_adapters_that_lead_out_are_refused_before_anything_is_written(
    bundle_copy: Path, bundle_path: Path, victim: Path
) -> None:
    shutil.rmtree(bundle_copy / "adapters")
    without_adapters(bundle_copy)
    (bundle_copy / "adapters").symlink_to(victim.parent)
    with pytest.raises(BundleError, match="adapters leads out of the bundle"):
        add_adapter(bundle_copy, bundle_path, "rain")
    assert (victim / "thesis.txt").read_text() == "years of work"


def test_an_adapter_that_leads_out_is_refused_without_digests_too(bundle_copy: Path, bundle_path: Path) -> None:
    shutil.rmtree(bundle_copy / "adapters" / "rain")
    (bundle_copy / "adapters" / "rain").symlink_to(bundle_path / "adapters" / "rain")
    file = bundle_copy / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "adapter_files": {}}))
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Bundle.open(bundle_copy).adapters(["rain"])


@pytest.mark.parametrize("make", [lambda lock, text: lock.symlink_to(text), lambda lock, text: os.mkfifo(lock)])
def test_a_lock_follows_no_link_and_waits_for_no_pipe(make: Callable[[Path, Path], None], victim: Path) -> None:
    folder, text = victim.parent, victim / "thesis.txt"
    make(folder / ".lock", text)
    with locked(folder) as held:
        assert held
    assert text.read_text() == "years of work"


def test_a_copy_goes_round_in_no_circles_and_leaves_pipes_out(bundle_copy: Path, tmp_path: Path) -> None:
    files = [path for path in bundle_copy.rglob("*") if not path.name.startswith(".")]
    expected = sorted(str(path.relative_to(bundle_copy)) for path in files)
    for name in ("a", "b"):
        (bundle_copy / name).symlink_to(".")
    (bundle_copy / "gone").symlink_to("nowhere")
    os.mkfifo(bundle_copy / "adapters" / "pipe")
    copy_bundle(bundle_copy, tmp_path / "made")
    assert sorted(str(path.relative_to(tmp_path / "made")) for path in (tmp_path / "made").rglob("*")) == expected


def test_a_pipe_is_not_waited_for(bundle_copy: Path) -> None:
    file = bundle_copy / "adapters" / "rain" / "adapter_model.safetensors"
    file.unlink()
    os.mkfifo(file)
    assert not Bundle.open(bundle_copy).estimator_is_current
