from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from abair_pl.errors import AbairError, InputError
from abair_pl.restoring.inputs import Job, plan_jobs
from abair_pl.restoring.photographs import Settings
from abair_pl.restoring.workers import check_devices, run_jobs


@pytest.fixture
def folder(photographs: Path, tmp_path: Path) -> Path:
    """Three photographs, and a file that is none between them."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "c", "d"):
        (folder / f"{name}.png").write_bytes((photographs / "photo-1.png").read_bytes())
    (folder / "b.png").write_text("no image")
    return folder


def test_processes_give_what_one_gives_in_the_same_order(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    settings = Settings(bundle_path, device="cpu")
    outcomes = [
        list(run_jobs(plan_jobs([folder], tmp_path / f"out-{devices}", "png"), settings, devices)) for devices in (1, 2)
    ]
    for one, two in zip(*outcomes, strict=True):
        assert one.job.source == two.job.source
        assert one.failure == two.failure
        assert one.weights == pytest.approx(two.weights, abs=1e-3)
    assert [bool(outcome.failure) for outcome in outcomes[1]] == [False, True, False, False]
    for name in ("a.png", "c.png", "d.png"):
        one_file, two_file = (np.asarray(Image.open(tmp_path / f"out-{devices}" / name)) for devices in (1, 2))
        assert np.abs(one_file.astype(int) - two_file.astype(int)).max() <= 1


def test_a_wrong_option_ends_all_processes(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown blend 'snow'"):
        list(run_jobs(plan_jobs([folder], tmp_path / "out", "png"), Settings(bundle_path, "snow", device="cpu"), 2))


def test_a_process_that_has_ended_is_told(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(ProcessPoolExecutor, "map", broken)
    jobs = [Job(Path(f"{index}.png"), Path(f"{index}.png")) for index in range(2)]
    with pytest.raises(AbairError, match=r"a process that restores has ended.*fewer --devices"):
        list(run_jobs(jobs, Settings(bundle_path, device="cpu"), 2))


def test_numbers_of_devices_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="devices is 0; expected at least 1"):
        check_devices("cpu", 0)
    check_devices("cpu", 64)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices("auto", 2)
    check_devices("cpu", 3)
    with pytest.raises(InputError, match="devices is 3 and there are 2 GPUs here"):
        check_devices("auto", 3)
