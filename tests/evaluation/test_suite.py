from pathlib import Path

import pytest
import yaml

from abair_pl.data.shards.layouts import find_layout, find_split
from abair_pl.degradations import BUILT_IN
from abair_pl.errors import InputError
from abair_pl.evaluation.classical.registry import CLASSICAL
from abair_pl.evaluation.pairs import side_by_side
from abair_pl.evaluation.protocols import named_protocol
from abair_pl.evaluation.published import published_table
from abair_pl.evaluation.suite import Method, Suite, read_suite

CONFIGS = Path(__file__).parents[2] / "configs" / "benchmark"
SUITES = sorted(CONFIGS.glob("*.yaml"))
TABLES = [path for path in SUITES if not path.stem.startswith("weights")]
WEIGHTS = ["weights", "weights_mixed", "weights_noise", "weights_pairs", "weights_severities"]
TASK = {"title": "Denoising", "dataset": "Kodak24", "layout": "kodak24", "root": "Kodak24", "degrade": "noise:sigma=25"}


def written(folder: Path, **changes: object) -> Path:
    values = {"title": "a suite", "tasks": {"noise": TASK}, "methods": {"soft": {"title": "SW"}}, **changes}
    (folder / "suite.yaml").write_text(yaml.safe_dump(values))
    return folder / "suite.yaml"


def test_each_table_of_the_paper_and_its_figure_has_a_suite() -> None:
    assert [path.stem for path in SUITES] == ["figure1", *(f"table{number}" for number in range(1, 9)), *WEIGHTS]


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_a_shipped_suite_names_what_there_is(path: Path) -> None:
    for task in read_suite(path).tasks.values():
        layout, known = find_layout(task.layout)
        find_split(layout, task.split)
        assert known.kind == "paired" or task.degrade, "clean photographs have to be degraded"
        assert side_by_side(task.made_of_photographs) if task.made_of_photographs else task.layout == "paired"
        assert task.oracle in ("", *BUILT_IN)
        named_protocol(task.protocol)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_suite_of_the_paper_has_the_columns_of_the_paper(path: Path) -> None:
    suite = read_suite(path)
    assert suite.published == ("table1+table4+table5" if path.stem == "figure1" else path.stem)
    assert list(suite.tasks) == list(published_table(suite.published).datasets)


def test_weights_are_measured_on_all_degradations_beside_all_classical_methods() -> None:
    whole = read_suite(CONFIGS / "weights.yaml")
    parts = [read_suite(CONFIGS / f"{name}.yaml") for name in WEIGHTS[1:]]
    assert len(whole.tasks) == 30
    assert whole.tasks == {name: task for part in parts for name, task in part.tasks.items()}
    assert all(part.methods == whole.methods and part.main_method == "soft" for part in parts)
    assert {task.oracle for task in whole.tasks.values()} == {"", *BUILT_IN}
    for task in whole.tasks.values():
        assert not task.degrade or task.oracle in ("", side_by_side(task.degrade)[0].sources[-1])
    assert {method.classical for method in whole.methods.values()} == {"", *CLASSICAL}
    for method in whole.methods.values():
        told = method.classical and CLASSICAL[method.classical].told
        assert bool(told) == ("told" in method.title)


def test_methods_may_be_those_of_another_suite(tmp_path: Path) -> None:
    methods = {"clahe": {"title": "CLAHE", "classical": "clahe"}}
    written(tmp_path, methods=methods).rename(tmp_path / "first.yaml")
    suite = read_suite(written(tmp_path, methods="first.yaml"))
    assert suite.methods == {"clahe": Method("CLAHE", classical="clahe")}


def test_tasks_may_be_those_of_other_suites(tmp_path: Path) -> None:
    written(tmp_path).rename(tmp_path / "first.yaml")
    written(tmp_path, tasks={"jpeg": {**TASK, "degrade": "jpeg:quality=20"}}).rename(tmp_path / "second.yaml")
    suite = read_suite(written(tmp_path, tasks=["first.yaml", "second.yaml"]))
    assert [task.degrade for task in suite.tasks.values()] == ["noise:sigma=25", "jpeg:quality=20"]


def test_the_main_method_is_the_last_unless_named(tmp_path: Path) -> None:
    methods = {"none": {"title": "phase I", "blend": "none"}, "soft": {"title": "SW"}}
    assert read_suite(written(tmp_path, methods=methods)).main_method == "soft"
    assert read_suite(written(tmp_path, methods=methods, main="none")).main_method == "none"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"main": "sofd"}, "unknown main method 'sofd'; expected one of: soft; did you mean 'soft'?"),
        ({"methods": {}}, "1 tasks and 0 methods; expected some"),
        ({"tasks": {"noise": {**TASK, "degraed": "noise"}}}, "degraed"),
        ({"tasks": {"noise": {"title": "Denoising"}}}, "is no suite"),
        ({"tasks": ["elsewhere.yaml"]}, "elsewhere.yaml"),
        ({"seed": "many"}, "seed"),
        ({"published": "tabel1"}, "unknown published table 'tabel1'"),
        ({"tasks": {"../up": TASK}}, "a task or method is called '../up'"),
        ({"methods": {"a/b": {"title": "SW"}}}, "a task or method is called 'a/b'"),
        ({"title": "two\nlines"}, "expected a single line"),
        ({"tasks": ["twice.yaml", "twice.yaml"]}, "two of the suites have a task 'noise'"),
        ({"tasks": [""]}, "is no suite"),
        ({"methods": "elsewhere.yaml"}, "elsewhere.yaml"),
        (
            {"methods": {"b": {"title": "B", "classical": "bm3d", "blend": "soft", "bundle": "main"}}},
            "method b has classical and blend and bundle; expected classical alone, or without it",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    written(tmp_path).rename(tmp_path / "twice.yaml")
    with pytest.raises(InputError) as caught:
        read_suite(written(tmp_path, **changes))
    assert message in str(caught.value)
    assert str(tmp_path / "suite.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a list", "title: [", "\x00", "[" * 3000])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.yaml").write_text(text)
    with pytest.raises(InputError, match="is no suite"):
        read_suite(tmp_path / "other.yaml")
    with pytest.raises(InputError, match=r"no suite at .*missing.yaml"):
        read_suite(tmp_path / "missing.yaml")


def test_a_suite_compares_by_value(tmp_path: Path) -> None:
    first, second = (read_suite(written(tmp_path)) for _ in range(2))
    assert isinstance(first, Suite)
    assert first == second
