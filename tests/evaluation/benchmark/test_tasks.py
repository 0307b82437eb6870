import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from abair_pl.errors import ImageError, InputError
from abair_pl.evaluation.benchmark.tasks import find_tasks
from abair_pl.evaluation.suite import Suite


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
    assert tasks["denoising"].text == "8 images of Kodak24 with noise:sigma=25"
    assert tasks["deraining"].text == "3 images of Rain100L"
    assert tasks["deraining"].protocol.name == "y"
    pair = tasks["deraining"].sources[0].load()
    assert torch.equal(pair.degraded, pair.clean), "stand_in is for photographs only"


def test_photographs_stand_in_for_what_is_missing(suite: Suite, data: Path, two_photographs: Path) -> None:
    shutil.rmtree(data / "Rain100L")
    tasks, missing = find_tasks(suite, data, two_photographs, allow_partial=False)
    assert not missing
    assert not tasks["denoising"].stands_in
    assert tasks["deraining"].stands_in
    expected = f"2 photographs of {two_photographs} with rain:severity=0.3, seed 0, in place of Rain100L"
    assert tasks["deraining"].text == expected
    assert tasks["deraining"].reason == f"no folder {data / 'Rain100L'}; expected Rain100L there"
    pair = tasks["deraining"].sources[0].load()
    assert (pair.degraded - pair.clean).abs().mean() > 0.005


def test_what_is_missing_is_told_why(suite: Suite, data: Path) -> None:
    shutil.rmtree(data / "Rain100L")
    tasks, missing = find_tasks(suite, data, None, allow_partial=False)
    assert list(tasks) == ["denoising"]
    assert missing == {"deraining": f"no folder {data / 'Rain100L'}; expected Rain100L there"}
    with pytest.raises(InputError, match=r"no task of 'two tasks' has images .*no --data to look for Kodak24 in"):
        find_tasks(suite, None, None, allow_partial=False)


def test_pairs_may_be_degraded_further(suite: Suite, data: Path) -> None:
    rain = replace(suite.tasks["deraining"], degrade="noise:sigma=25")
    tasks, _ = find_tasks(replace(suite, tasks={"deraining": rain}), data, None, allow_partial=False)
    pair = tasks["deraining"].sources[0].load()
    assert (pair.degraded - pair.clean).std() == pytest.approx(25 / 255, rel=0.1)


def test_incomplete_data_sets_are_used_on_demand_and_marked(suite: Suite, data: Path) -> None:
    kodak = replace(suite.tasks["denoising"], layout="kodak24")
    partly = replace(suite, tasks={**suite.tasks, "denoising": kodak})
    _, missing = find_tasks(partly, data, None, allow_partial=False)
    assert "expected 24 photographs, found 8" in missing["denoising"]
    tasks, missing = find_tasks(partly, data, None, allow_partial=True)
    assert not missing
    assert tasks["denoising"].stands_in
    assert tasks["denoising"].text == "8 of 24 images of Kodak24 with noise:sigma=25"


def test_only_takes_names_that_start_so(suite: Suite, data: Path) -> None:
    some = {"denoising": replace(suite.tasks["denoising"], only="photo-3")}
    tasks, _ = find_tasks(replace(suite, tasks=some), data, None, allow_partial=False)
    assert [source.image for source in tasks["denoising"].sources] == ["photo-3"]
    none = {**suite.tasks, "denoising": replace(suite.tasks["denoising"], only="image")}
    _, missing = find_tasks(replace(suite, tasks=none), data, None, allow_partial=False)
    assert missing == {"denoising": f"{data / 'Kodak24'} has no image whose name starts with 'image'"}


def test_clean_photographs_have_to_be_degraded(suite: Suite, data: Path) -> None:
    task = replace(suite.tasks["denoising"], degrade=None)
    _, missing = find_tasks(replace(suite, tasks={**suite.tasks, "denoising": task}), data, None, allow_partial=False)
    assert "has clean photographs only; expected degrade in the suite" in missing["denoising"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"degrade": "nose:sigma=25"}, "task denoising: unknown degradation 'nose'"),
        ({"stand_in": "noise:sgma=25"}, "task denoising: unknown setting"),
        ({"protocol": "ycc"}, "task denoising: unknown protocol 'ycc'"),
        ({"layout": "kodak42"}, "task denoising: unknown layout 'kodak42'"),
        ({"split": "tset"}, "task denoising: unknown split of folder 'tset'"),
    ],
)
def test_names_are_checked_before_any_work(suite: Suite, data: Path, change: dict[str, str], message: str) -> None:
    task = replace(suite.tasks["denoising"], **change)  # type: ignore[arg-type]
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
        task = replace(suite.tasks["denoising"], **change)  # type: ignore[arg-type]
        assert keys(replace(suite, tasks={"denoising": task}))[0] != first[0]
    os.utime(two_photographs / "photo-1.png", ns=(1, 1))
    assert keys(suite) == first, "the time of a file says nothing"


def test_files_count_by_their_bytes(suite: Suite, two_photographs: Path) -> None:
    tasks, _ = find_tasks(suite, None, two_photographs, allow_partial=False)
    images = tasks["denoising"]
    source = images.sources[0]
    first = images.key(source)
    depth = source.clean.with_suffix(".depth.png")
    Image.new("L", Image.open(source.clean).size).save(depth)
    assert images.key(source) != first, "it changes what haze is made of"
    depth.unlink()
    other = two_photographs / "other.png"
    Image.open(source.clean).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other)
    assert images.key(replace(source, clean=other)) != first
    with pytest.raises(ImageError, match=r"gone.png: cannot be read"):
        images.key(replace(source, clean=two_photographs / "gone.png"))


def test_images_that_are_not_the_paper_s_are_marked(suite: Suite, data: Path) -> None:
    other = {"deraining": replace(suite.tasks["deraining"], comparable=False)}
    tasks, _ = find_tasks(replace(suite, tasks=other), data, None, allow_partial=False)
    assert tasks["deraining"].stands_in
    assert tasks["deraining"].text == "3 images of Rain100L, which need not be those of the paper"


def test_photographs_of_the_same_stem_are_refused(suite: Suite, two_photographs: Path) -> None:
    Image.open(two_photographs / "photo-1.png").save(two_photographs / "photo-1.bmp")
    with pytest.raises(InputError, match="have the same stem"):
        find_tasks(suite, None, two_photographs, allow_partial=False)
