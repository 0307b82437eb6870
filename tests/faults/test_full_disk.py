"""A disk that fills up while a run goes on: one clear line, and the last checkpoint is whole."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import Phase

from abair_pl.modules.checkpoint_files import damage

SIZE_MB = 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk, where the machine lets it")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    small_disk: Path, make_phase: Callable[..., Phase], tmp_path: Path
) -> None:
    """Five checkpoints of 3 MB each fit, the next one does not; with room for them the run goes on."""
    phase = make_phase("pretrain", tmp_path / "run")
    phase.checkpoints_are = {"every_n_steps": 2, "keep": 100, "folder": small_disk}
    status, said = phase.run("--trainer.val_check_interval=40")
    assert status == 1, said[-3000:]
    errors = [line for line in said.splitlines() if line.startswith("abair-pl: error:")]
    assert len(errors) == 1
    assert "could not be written (the disk is full); the last one, step-0000000" in errors[0]
    assert "Traceback" not in said
    kept = sorted(small_disk.rglob("step-*.ckpt"))
    assert kept
    assert all(damage(path) is None for path in kept)
    assert not list(small_disk.rglob("*.partial"))
    for path in kept[:-1]:
        path.unlink()
    phase.checkpoints_are |= {"every_n_steps": 10, "keep": 1}
    status, said = phase.run("--trainer.val_check_interval=40", "--resume=auto")
    assert status == 0, said[-3000:]
    assert f"going on from {kept[-1]}" in said
    assert phase.weights
