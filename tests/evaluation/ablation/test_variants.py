import json
from pathlib import Path

import pytest

from abair_pl.errors import InputError
from abair_pl.evaluation.ablation.runs import Training
from abair_pl.evaluation.ablation.variants import PhaseOptions, Variant, read_ablation, read_scale
from abair_pl.evaluation.published import published_table
from abair_pl.evaluation.suite import read_suite

SHIPPED = Path(__file__).parents[3] / "configs" / "ablation"
ABLATIONS = sorted(SHIPPED.glob("*.yaml"))
SCALES = [None, *sorted((SHIPPED / "scale").glob("*.yaml"))]
SMALLEST = "title: smallest\nsuite: suite.yaml\nvariants:\n  one: {title: one}\n"


def test_there_are_the_tables_that_the_paper_trains_for() -> None:
    assert [path.stem for path in ABLATIONS] == ["table6", "table7", "table8"]
    assert len(SCALES) > 1


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", SCALES, ids=lambda path: path.stem if path else "as shipped")
def test_options_of_shipped_ablations_are_those_of_the_phases(path: Path, scale: Path | None, tmp_path: Path) -> None:
    ablation = read_ablation(path)
    sizes = read_scale(scale) if scale else PhaseOptions()
    data = {"data.train": "shards/train", "data.val": "shards/val"}
    Training(tmp_path, ablation.configs, "tiny", sizes, data).check(ablation.variants)


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_shipped_ablations_have_a_suite_and_published_rows(path: Path) -> None:
    ablation = read_ablation(path)
    suite = read_suite(ablation.suite)
    assert all(task.oracle for task in suite.tasks.values()), "all variants are measured on all tasks"
    assert published_table(ablation.published).datasets.keys() == suite.tasks.keys()
    assert any(variant.published for variant in ablation.variants.values())


def test_classes_in_options_stay_what_yaml_says() -> None:
    options = read_ablation(SHIPPED / "table7.yaml").variants["vera_4"].options.of("adapter")
    named = {"class_path": "abair_pl.models.adapters.VeRA", "init_args": {"rank": 4}}
    assert json.loads(json.dumps(options)) == {"model.adapter": named}


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(SMALLEST)
    ablation = read_ablation(file)
    assert ablation.suite == tmp_path / "suite.yaml"
    assert ablation.configs.resolve() == tmp_path.parent
    assert ablation.variants == {"one": Variant("one")}
    file.write_text(SMALLEST + "configs: /elsewhere\n")
    assert read_ablation(file).configs == Path("/elsewhere")


def test_options_of_a_phase_go_before_those_of_all() -> None:
    options = PhaseOptions({"trainer.max_steps": 1, "data.workers": 0}, adapter={"trainer.max_steps": 2})
    assert options.of("adapter") == {"trainer.max_steps": 2, "data.workers": 0}
    assert options.of("pretrain") == {"trainer.max_steps": 1, "data.workers": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not an ablation"),
        ("- a list", "is not an ablation"),
        ("title: [", "is not an ablation"),
        (SMALLEST.replace("suite:", "suit:"), "suit"),
        (SMALLEST.replace("title: one", "titel: one"), "titel"),
        (SMALLEST.replace("{title: one}", "one"), "is not an ablation"),
        (SMALLEST.replace("  one: {title: one}", "  {}"), "has no variants; expected at least one"),
        (SMALLEST.replace("  one:", "  a/b:"), "a variant is called 'a/b'"),
        (SMALLEST.replace("title: one", "title: one, blend: sofd"), "unknown blend 'sofd'.*did you mean 'soft'"),
        (SMALLEST.replace("title: one", "title: one, published: LoRA"), "unknown row of published table ''"),
        (SMALLEST + "published: table66\n", "unknown published table 'table66'"),
        (SMALLEST.replace("title: one", "title: one, options: {pretrian: {}}"), "pretrian"),
        (SMALLEST.replace("title: one", "title: one, options: {every: 5}"), "the options of every are 5"),
        (
            SMALLEST.replace("title: one", "title: one, options: {pretrain: {model.preset: small}}"),
            "pretrain has the option model.preset, which the ablation sets itself; use --preset",
        ),
    ],
)
def test_what_is_no_ablation_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "ablation.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_ablation(file)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_a_published_row_must_be_in_the_table(tmp_path: Path) -> None:
    file = tmp_path / "ablation.yaml"
    file.write_text(SMALLEST.replace("title: one", "title: one, published: + Cutmix") + "published: table6\n")
    with pytest.raises(InputError, match=r"'\+ Cutmix'; expected one of: .*did you mean '\+ CutMix'"):
        read_ablation(file)


@pytest.mark.parametrize("content", [None, "", "all: {trainer.max_steps: 1}", "every: {ckpt_path: x}"])
def test_what_is_no_scale_is_refused(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "scale.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=r"scale\.yaml"):
        read_scale(file)
