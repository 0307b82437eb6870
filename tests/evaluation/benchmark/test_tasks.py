import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from abair_pl.errors import InputError
from abair_pl.evaluation.benchmark.suite import Suite
from abair_pl.evaluation.benchmark.tasks import find_tasks


@pytest.fixture
def data(photographs: Path, tmp_path: Path) -> Path:
    """Data sets: eight photographs as Kodak24, three pairs as Rain100L."""
    shutil.copytree(photographs, tmp_path / "data" / "Kodak24")
    for role in ("input", "target"):
        folder = tmp_path / "data" / "Rain100L" / role
        folder.mkdir(parents=True)
        for index in range(3):
            shutil.copy(photographs / f"photo-{index}.png", folder)
    return tmp_path / "data"


def test_data_sets_are_taken_where_they_are(suite: Suite, data: Path, two_photographs: Path) -> None:
    tasks, missing = find_tasks(suite, data, two_photographs, allow_partial=False)
    assert not missing
    assert [(len(task.sources), task.stands_in) for task in tasks.values()] == [(8, False), (3, False)]
    assert tasks["denoising"].text == "Kodak24 (8 images, noise:sigma=25)"
    assert tasks["deraining"].text == "Rain100L (3 images)"
    assert tasks["deraining"].protocol.name == "y"
    pair = tasks["deraining"].sources[0].load()
    assert torch.equal(pair.degraded, pair.clean), "stand_in is for photographs only"


def test_photographs_stand_in_for_what_is_missing(suite: Suite, data: Path, two_photographs: Path) -> None:
    shutil.rmtree(data / "Rain100L")
    tasks, missing = find_tasks(suite, data, two_photographs, allow_partial=False)
    assert not missing
    assert not tasks["denoising"].stands_in
    assert tasks["deraining"].stands_in
    assert tasks["deraining"].text == "2 photographs of two with rain:severity=0.3, seed 0"
    pair = tasks["deraining"].sources[0].load()
    assert (pair.degraded - pair.clean).abs().mean() > 0.005


def test_what_is_missing_is_told_why(suite: Suite, data: Path) -> None:
    shutil.rmtree(data / "Rain100L")
    tasks, missing = find_tasks(suite, data, None, allow_partial=False)
    assert list(tasks) == ["denoising"]
    assert missing == {"deraining": f"no folder {data / 'Rain100L'}; expected Rain100L there"}
    tasks, missing = find_tasks(suite, None, None, allow_partial=False)
    assert not tasks
    assert missing.keys() == {"denoising", "deraining"}


def test_pairs_may_be_degraded_further(suite: Suite, data: Path) -> None:
    rain = replace(suite.tasks["deraining"], degrade="noise:sigma=25")
    tasks, _ = find_tasks(replace(suite, tasks={"deraining": rain}), data, None, allow_partial=False)
    pair = tasks["deraining"].sources[0].load()
    assert (pair.degraded - pair.clean).std() == pytest.approx(25 / 255, rel=0.1)


def test_incomplete_data_sets_are_used_on_demand_and_marked(suite: Suite, data: Path) -> None:
    kodak = replace(suite.tasks["denoising"], layout="kodak24")
    partly = replace(suite, tasks={"denoising": kodak})
    _, missing = find_tasks(partly, data, None, allow_partial=False)
    assert "expected 24 photographs, found 8" in missing["denoising"]
    tasks, missing = find_tasks(partly, data, None, allow_partial=True)
    assert not missing
    assert tasks["denoising"].stands_in
    assert tasks["denoising"].text == "Kodak24 (8 of 24 images, noise:sigma=25)"


def test_only_takes_names_that_start_so(suite: Suite, data: Path) -> None:
    some = {"denoising": replace(suite.tasks["denoising"], only="photo-3")}
    tasks, _ = find_tasks(replace(suite, tasks=some), data, None, allow_partial=False)
    assert [source.image for source in tasks["denoising"].sources] == ["photo-3"]
    none = {"denoising": replace(suite.tasks["denoising"], only="image")}
    _, missing = find_tasks(replace(suite, tasks=none), data, None, allow_partial=False)
    assert missing == {"denoising": f"{data / 'Kodak24'} has no image whose name starts with 'image'"}


def test_clean_photographs_have_to_be_degraded(suite: Suite, data: Path) -> None:
    task = replace(suite.tasks["denoising"], degrade=None)
    _, missing = find_tasks(replace(suite, tasks={"denoising": task}), data, None, allow_partial=False)
    assert "has clean photographs only; expected degrade in the suite" in missing["denoising"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"degrade": "nose:sigma=25"}, "task denoising: unknown degradation 'nose'"),
        ({"stand_in": "noise:sgma=25"}, "task denoising: unknown setting"),
        ({"protocol": "ycc"}, "task denoising: unknown protocol 'ycc'"),
    ],
)
def test_names_are_checked_before_any_work(suite: Suite, data: Path, change: dict[str, str], message: str) -> None:
    task = replace(suite.tasks["denoising"], **change)
    with pytest.raises(InputError, match=message):
        find_tasks(replace(suite, tasks={"denoising": task}), data, None, allow_partial=False)


def test_the_key_of_an_image_says_what_shapes_it(suite: Suite, two_photographs: Path) -> None:
    def keys(changed: Suite) -> list[str]:
        tasks, _ = find_tasks(changed, None, two_photographs, allow_partial=False)
        task = tasks["denoising"]
        return [task.key(source) for source in task.sources]

    first = keys(suite)
    assert len(set(first)) == 2
    assert keys(suite) == first
    assert keys(replace(suite, seed=1)) != first
    for change in ({"degrade": "noise:sigma=15"}, {"protocol": "y"}):
        task = replace(suite.tasks["denoising"], **change)
        assert keys(replace(suite, tasks={"denoising": task}))[0] != first[0]
    os.utime(two_photographs / "photo-1.png", ns=(1, 1))
    assert [key in first for key in keys(suite)] == [False, True], "the file was exchanged"
