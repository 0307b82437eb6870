from pathlib import Path

import pytest

from abair_pl.errors import ImageError, InputError
from abair_pl.restoring.inputs import STANDARD, Job, plan_jobs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Images in folders, and what is no image."""
    folder = tmp_path / "in"
    names = [
        "b.jpg",
        "a.PNG",
        "a.depth.png",
        "notes.txt",
        "deep/c.tif",
        "deep/er/b.webp",
        ".hidden.png",
        ".cache/d.png",
    ]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")
    return folder


def targets(jobs: list[Job], output: Path) -> list[str]:
    return [str(job.target.relative_to(output)) for job in jobs]


def test_folders_keep_the_tree_below_them(tree: Path, tmp_path: Path) -> None:
    jobs = plan_jobs([tree], tmp_path / "out", "png")
    assert targets(jobs, tmp_path / "out") == ["a.png", "b.png", "deep/c.png", "deep/er/b.png"]
    assert [job.source for job in jobs] == [
        tree / "a.PNG",
        tree / "b.jpg",
        tree / "deep/c.tif",
        tree / "deep/er/b.webp",
    ]


def test_files_keep_their_stem_alone(tree: Path, tmp_path: Path) -> None:
    jobs = plan_jobs([tree / "deep/er/b.webp", tree / "notes.txt"], tmp_path, "jpg")
    assert targets(jobs, tmp_path) == ["b.jpg", "notes.jpg"]


def test_dots_in_names_are_kept(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "v1.2.final.jpg").write_bytes(b"content")
    for given in (tmp_path / "in", tmp_path / "in" / "v1.2.final.jpg"):
        (job,) = plan_jobs([given], tmp_path / "out", "png", explain=True)
        assert job.target.name == "v1.2.final.png"
        assert job.sheet == tmp_path / "out" / "v1.2.final.explain.png"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*.[jJ]*", ["b.png"]), ("*", ["a.png", "a.depth.png", "b.png"]), ("deep/**/*", ["c.png", "b.png"])],
)
def test_patterns_give_the_images_that_match(tree: Path, tmp_path: Path, pattern: str, expected: list[str]) -> None:
    jobs = plan_jobs([tree / pattern], tmp_path / "out", "png")
    assert sorted(targets(jobs, tmp_path / "out")) == sorted(expected)


def test_a_file_named_like_a_pattern_is_that_file(tree: Path, tmp_path: Path) -> None:
    (tree / "[b].jpg").write_bytes(b"content")
    assert [job.source.name for job in plan_jobs([tree / "[b].jpg"], tmp_path, "png")] == ["[b].jpg"]


@pytest.mark.parametrize("name", ["none.png", "*.bmp", "deep/*.txt"])
def test_nothing_to_find_is_refused(tree: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"no image at .*; expected a file, a folder, a pattern"):
        plan_jobs([tree / name], tmp_path, "png")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="has no images"):
        plan_jobs([tmp_path], tmp_path / "out", "png")


def test_results_within_the_input_are_not_restored_again(tree: Path) -> None:
    (tree / "restored").mkdir()
    (tree / "restored" / "a.png").write_bytes(b"of an earlier run")
    jobs = plan_jobs([tree], tree / "restored", "png")
    assert targets(jobs, tree / "restored") == ["a.png", "b.png", "deep/c.png", "deep/er/b.png"]


def test_results_in_the_very_folder_of_the_photographs_are_refused(tree: Path) -> None:
    with pytest.raises(InputError, match="the folder of the photographs; expected another"):
        plan_jobs([tree], tree, "webp")


def test_two_inputs_of_one_result_are_refused(tree: Path, tmp_path: Path) -> None:
    (tree / "a.jpg").write_bytes(b"content")
    with pytest.raises(InputError, match=r"a\.PNG and .*a\.jpg would both be written to .*a\.png; rename one"):
        plan_jobs([tree], tmp_path, "png")
    with pytest.raises(InputError, match=r"b\.jpg and .*b\.webp would both be written to .*b\.png"):
        plan_jobs([tree / "b.jpg", tree / "deep/er/b.webp"], tmp_path, "png")


def test_a_sheet_in_place_of_a_result_is_refused(tree: Path, tmp_path: Path) -> None:
    (tree / "b.explain.jpg").write_bytes(b"content")
    with pytest.raises(InputError, match=r"would both be written to .*b\.explain\.png"):
        plan_jobs([tree], tmp_path / "out", "png", explain=True)
    assert plan_jobs([tree], tmp_path / "out", "png")


def test_an_input_is_never_overwritten(tree: Path, tmp_path: Path) -> None:
    (tree / "a.PNG").rename(tree / "a.png")
    (tmp_path / "link").symlink_to(tree, target_is_directory=True)
    for output in (tree, tmp_path / "link"):
        with pytest.raises(InputError, match=r"a\.png is an input and would be overwritten; choose another --output"):
            plan_jobs([tree / "a.png"], output, "png")
    assert plan_jobs([tree / "a.png"], tree, "webp")


def test_standard_input_and_output(tree: Path, tmp_path: Path) -> None:
    assert plan_jobs([STANDARD], STANDARD, "png") == [Job(STANDARD, STANDARD)]
    assert plan_jobs([STANDARD], tmp_path, "tiff") == [Job(STANDARD, tmp_path / "stdin.tiff")]
    assert plan_jobs([tree / "b.jpg"], STANDARD, "png") == [Job(tree / "b.jpg", STANDARD)]


def test_standard_input_and_output_take_one_photograph(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 inputs with - among them; expected - alone"):
        plan_jobs([STANDARD, tree / "b.jpg"], tmp_path, "png")
    with pytest.raises(InputError, match="4 photographs for standard output; expected one"):
        plan_jobs([tree], STANDARD, "png")
    with pytest.raises(InputError, match="--explain writes a sheet beside the result"):
        plan_jobs([STANDARD], STANDARD, "png", explain=True)
