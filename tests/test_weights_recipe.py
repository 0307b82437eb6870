"""``make weights``: the driver, its settings and its log. Scripts are no package: their modules are loaded here."""

import csv
import importlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from abair_pl.cli import main
from abair_pl.data.decode import IMAGE_SUFFIXES
from abair_pl.degradations import BUILT_IN
from abair_pl.doctor.plan import read_plan

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "configs" / "weights"
RECIPES = [RECIPE, RECIPE / "small"]
KINDS = ("pretrain", "adapter", "estimator")
DRIVER = [sys.executable, str(ROOT / "scripts" / "weights.py")]
TOY_STEPS = {"pretrain": (8, 4), "adapter": (2, 2), "estimator": (2, 2)}


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


@pytest.fixture
def part() -> Callable[[str], Any]:
    """``part("log")``: a module of the recipe; ``part("")`` the driver."""
    return lambda name: importlib.import_module(f"weights_recipe.{name}" if name else "weights")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The recipe's settings with one degradation and a few steps of small patches, each of which is logged."""
    folder = tmp_path / "toy"
    folder.mkdir()
    for kind, (steps, interval) in TOY_STEPS.items():
        text = (RECIPE / f"{kind}.yaml").read_text()
        changes = {"schedule_steps": steps, "max_steps": steps, "val_check_interval": interval, "log_every_n_steps": 1}
        changes |= {"batch_size": 2, "patch_px": 32, "val_patch_px": 32, "workers": 0}
        for name, value in changes.items():
            text, count = re.subn(rf"(?m)^( *{name}:) *\d+", rf"\1 {value}", text)
            assert count == 1, f"{kind}.yaml sets {name} once"
        text = re.sub(r"degradations: .*", "degradations: [noise]", text)
        text = re.sub(r"bias: .*", "bias: {clean: 0.5, noise: 0.25}", text)
        (folder / f"{kind}.yaml").write_text(re.sub(r"frequencies: .*", "frequencies: {noise: 2.0}", text))
    return folder


def _photograph(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two photographs of odd names."""
    _photograph(tmp_path / "data" / "a 'b\".v1.JPG", 1)
    _photograph(tmp_path / "data" / "sub" / "-q\nr$.png", 2)
    return tmp_path / "data"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
@pytest.mark.parametrize("kind", KINDS)
def test_the_settings_of_each_phase_run(
    kind: str, recipe: Path, sample_shards: Path, bundle_path: Path, tmp_path: Path
) -> None:
    options = ["fit", "--config", str(ROOT / "configs" / f"{kind}.yaml"), "--config", str(recipe / f"{kind}.yaml")]
    options += ["--data.train", str(sample_shards / "train"), "--data.val", str(sample_shards / "val")]
    options += ["--data.workers", "0", "--data.batch_size", "2", "--data.patch_px", "32", "--data.val_patch_px", "32"]
    options += ["--model.save_to", str(tmp_path / "bundle"), "--trainer.default_root_dir", str(tmp_path)]
    options += ["--trainer.accelerator", "cpu"]
    options += [] if kind == "pretrain" else ["--model.init_from", str(bundle_path)]
    assert main([*options, "--trainer.fast_dev_run", "true", "--trainer.enable_progress_bar", "false"]) == 0


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_schedule_are_equal_and_logs_outlive_a_kill(kind: str, recipe: Path) -> None:
    plan = read_plan([ROOT / "configs" / f"{kind}.yaml", recipe / f"{kind}.yaml"], [])
    assert plan.max_steps == plan.model["optimization"]["schedule_steps"]
    every = plan.trainer["log_every_n_steps"]
    rolling = plan.callback("RollingCheckpoint")
    assert rolling is not None
    # A CSV logger writes what it has after every hundredth step: a checkpoint later than that would lose some.
    assert 100 % every == 0
    assert rolling["every_n_steps"] % 100 == 0
    assert plan.trainer["val_check_interval"] % 100 == 0
    assert plan.max_steps % plan.trainer["val_check_interval"] == 0, "the last step is validated"


def test_what_the_driver_repeats_is_what_the_package_has(part: Callable[[str], Any]) -> None:
    assert part("shards").SUFFIXES == IMAGE_SUFFIXES
    settings = yaml.safe_load((RECIPE / "pretrain.yaml").read_text())["model"]["init_args"]
    assert all(part("phases").degradations(recipe) == settings["degradations"] for recipe in RECIPES)
    assert len(set(settings["degradations"])) == 8
    assert set(settings["degradations"]) <= set(BUILT_IN)


def test_what_ships_and_its_log_are_of_these_settings(part: Callable[[str], Any], tmp_path: Path) -> None:
    steps = {phase.name: phase.steps for phase in part("phases").phases(tmp_path / "out", RECIPE, 1.0)}
    config = json.loads((ROOT / "src" / "abair_pl" / "weights" / "config.json").read_text())
    assert {name: facts["steps"] for name, facts in config["provenance"].items()} == steps
    chosen = yaml.safe_load((RECIPE / "estimator.yaml").read_text())["model"]["init_args"]
    assert config["calibration"]["sharpness"] == chosen["sharpness"]
    assert config["calibration"]["bias"] == [chosen["bias"].get(name, 0.0) for name in ("clean", *config["estimated"])]
    with (ROOT / "docs" / "weights" / "training-log.csv").open() as stream:
        logged = {row["phase"]: int(row["step"]) + 1 for row in csv.DictReader(stream)}
    assert logged == steps
    facts = json.loads((ROOT / "docs" / "weights" / "training.json").read_text())
    assert {name: phase["steps"] for name, phase in facts["phases"].items()} == steps
    assert facts["budget"] == 1.0


def test_a_tenth_of_the_budget_is_a_tenth_of_the_steps(part: Callable[[str], Any], toy: Path, tmp_path: Path) -> None:
    text = (toy / "pretrain.yaml").read_text().replace("schedule_steps: 8", "schedule_steps: 200")
    (toy / "pretrain.yaml").write_text(text.replace("val_check_interval: 4", "val_check_interval: 100  # often"))
    steps = {}
    for budget in (1.0, 0.6, 0.1, 0.001):
        found = part("phases").phases(tmp_path / "out", toy, budget)
        assert [phase.name for phase in found] == ["pretrain", "adapter/noise", "estimator"]
        options = dict(zip(found[0].options[::2], found[0].options[1::2], strict=True))
        steps[budget] = (found[0].steps, *(int(options[f"--trainer.{n}"]) for n in ("max_steps", "val_check_interval")))
        assert [phase.threads for phase in found] == [2, 1, 2]
    assert steps == {1.0: (200, 200, 100), 0.6: (120, 120, 100), 0.1: (20, 20, 20), 0.001: (1, 1, 1)}


def test_phases_hand_over_and_later_ones_lie_in_the_budget_s_folder(part: Callable[[str], Any], tmp_path: Path) -> None:
    first, *adapters, last = part("phases").phases(tmp_path, RECIPE, 0.25)
    assert len(adapters) == 8
    assert first.saved == tmp_path / "pretrain" / "bundle"
    assert {adapter.start for adapter in adapters} == {first.saved}
    assert {adapter.saved for adapter in adapters} == {last.start}
    assert all(tmp_path / "budget-0.25" in phase.root.parents for phase in (*adapters, last))
    assert len({phase.logs for phase in (first, *adapters, last)}) == 10


def test_photographs_are_found_in_order_and_every_twelfth_is_held_out(
    part: Callable[[str], Any], tmp_path: Path
) -> None:
    names = [f"{index:02d} é'$\n.jpg" for index in range(23)]
    for name in [*names, "sub/z.tiff"]:
        _photograph(tmp_path / "data" / name)
    Image.new("I;16", (64, 48)).save(tmp_path / "data" / f"{names[1].removesuffix('.jpg')}.depth.png")
    for passed_over in (".hidden.jpg", "._mac.jpg", ".trash/x.jpg", "notes.txt", "jpg"):
        (tmp_path / "data" / passed_over).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / passed_over).write_bytes(b"nothing")
    found = part("shards").find_photographs(tmp_path / "data")
    assert [path.relative_to(tmp_path / "data").as_posix() for path in found] == [*names, "sub/z.tiff"]
    for _ in range(2):  # again, as after an interruption
        part("shards").link_photographs(found, tmp_path / "linked")
    assert sorted(path.name for path in (tmp_path / "linked" / "val").iterdir()) == ["00000-00.jpg", "00012-12.jpg"]
    train = sorted((tmp_path / "linked" / "train").iterdir())
    assert [path.name for path in train][:3] == ["00001-01.depth.png", "00001-01.jpg", "00002-02.jpg"]
    assert len(train) == 23
    assert train[-1].name == "00023-z.tiff"
    assert train[-1].resolve() == tmp_path / "data" / "sub" / "z.tiff"


class Faked:
    """In place of ``abair-pl``: notes the commands, and makes bundles and shards as far as the driver looks at them."""

    def __init__(self) -> None:
        self.commands: list[Any] = []
        self.jobs: list[int] = []

    def __call__(self, commands: Sequence[Any], jobs: int = 1) -> None:
        for command in commands:
            self.commands.append(command)
            self.jobs.append(jobs)
            words = list(command.arguments)
            if words[0] == "fit":
                self._fit(dict(zip(words[1::2], words[2::2], strict=True)), words)
            elif words[0] == "bundle":
                source, target = Path(words[2]), Path(words[4])
                target.mkdir(exist_ok=True)
                (target / "config.json").write_text((source / "config.json").read_text())
            else:
                folder = Path(words[words.index("--output") + 1]) / ("train" if words[1] == "sample" else "")
                folder.mkdir(parents=True)
                (folder / "manifest.json").write_text('{"complete": true}')

    def _fit(self, options: dict[str, str], words: list[str]) -> None:
        name = next(kind for kind in KINDS if any(word.endswith(f"{kind}.yaml") for word in words))
        name = name if name != "adapter" else f"adapter/{options['--model.degradation']}"
        saved = Path(options["--model.save_to"]) / "config.json"
        start = saved if saved.exists() or name == "pretrain" else Path(options["--model.init_from"]) / "config.json"
        before = json.loads(start.read_text())["provenance"] if start.exists() else {}
        saved.parent.mkdir(parents=True, exist_ok=True)
        facts: dict[str, Any] = {
            "steps": int(options["--trainer.max_steps"]),
            "seconds": 1.5,
            "hardware": "a pocket calculator",
        }
        saved.write_text(json.dumps({"provenance": {**before, name: facts}}))
        logs = Path(options["--trainer.logger.save_dir"], options["--trainer.logger.name"])
        folder = logs / f"version_{len(list(logs.glob('version_*')))}"
        folder.mkdir(parents=True)
        rows = [f"{step},{1 / (1 + step)!r},9.0" for step in range(facts["steps"])]
        (folder / "metrics.csv").write_text("\n".join(["step,train/loss,train/images_per_second", *rows, ""]))

    @property
    def titles(self) -> list[str]:
        return [command.title.partition(":")[0] for command in self.commands]


@pytest.fixture
def faked(part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Faked:
    """The driver without ``abair-pl`` and without a forecast."""
    fake = Faked()
    for module in (part(""), part("shards")):
        monkeypatch.setattr(module, "run_all", fake)
    monkeypatch.setattr(part(""), "print_forecast", lambda *arguments: None)
    return fake


def test_steps_run_in_order_once_and_a_larger_budget_goes_on(
    part: Callable[[str], Any], faked: Faked, data: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    run = ["--data", str(data), "--output", str(output), "--recipe", str(toy), "--jobs", "3", "--licence", "CC0-1.0"]
    assert part("").main([*run, "--budget", "0.5"]) == 0
    shards = ["shards photos-1100", "shards val-1100", "shards photos-640", "shards val-640", "shards sample/train"]
    assert faked.titles == [*shards, "pretrain", "adapter/noise", "estimator", f"bundle {output / 'bundle'}"]
    built, fitted = faked.commands[0].arguments, faked.commands[5].arguments
    assert list(built[:2]) == ["shards", "build"]
    for pair in (
        ("--tile-px", "256"),
        ("--tile-overlap-px", "64"),
        ("--max-side-px", "1100"),
        ("--licence", "CC0-1.0"),
    ):
        assert built[built.index(pair[0]) + 1] == pair[1]
    weights = json.loads(fitted[fitted.index("--data.train") + 1])
    assert list(weights.values()) == [4, 2, 1]
    assert all((Path(folder) / "manifest.json").exists() for folder in weights)
    assert all(list(command.arguments[-2:]) == ["--resume", "auto"] for command in faked.commands[5:8])
    assert faked.jobs == [1] * 6 + [3, 1, 1]
    said = output / "budget-0.5" / "adapters" / "noise.txt"
    assert [command.said for command in faked.commands] == [None] * 6 + [said, None, None]

    faked.commands.clear()
    assert part("").main([*run, "--budget", "0.5"]) == 0
    assert faked.commands == []
    assert "pretrain: there already, 4 steps" in capsys.readouterr().out

    assert part("").main(run) == 0
    assert faked.titles == ["pretrain", "adapter/noise", "estimator", f"bundle {output / 'bundle'}"]
    assert faked.commands[0].title == "pretrain: 8 steps, of which 4 are done"
    facts = json.loads((output / "training.json").read_text())
    assert (facts["budget"], facts["jobs"], facts["seconds"]) == (1.0, 3, 4.5)
    assert facts["phases"]["pretrain"] == {"steps": 8, "seconds": 1.5, "hardware": "a pocket calculator"}
    assert {"processor", "cores", "torch", "python"} <= facts.keys()

    assert part("").main([*run, "--budget", "0.25"]) == 2
    assert "has 8 steps of phase I, a budget of 0.25 only 2; raise BUDGET" in capsys.readouterr().err


def test_a_phase_that_stops_early_leaves_its_log(
    part: Callable[[str], Any], faked: Faked, data: Path, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(commands: Sequence[Any], jobs: int = 1) -> None:
        if any(command.title.startswith("adapter") for command in commands):
            raise KeyboardInterrupt
        faked(commands, jobs)

    monkeypatch.setattr(part(""), "run_all", interrupted)
    assert part("").main(["--data", str(data), "--output", str(tmp_path / "out"), "--recipe", str(toy)]) == 1
    with (tmp_path / "out" / "training-log.csv").open() as stream:
        assert [(row["phase"], row["step"]) for row in csv.DictReader(stream)] == [
            ("pretrain", f"{n}") for n in range(8)
        ]
    assert not (tmp_path / "out" / "bundle").exists()


@pytest.mark.parametrize("change", ["photographs", "settings"])
def test_an_output_of_others_is_refused(
    part: Callable[[str], Any],
    faked: Faked,
    data: Path,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    run = ["--data", str(data), "--output", str(tmp_path / "out"), "--recipe", str(toy)]
    assert part("").main(run) == 0
    faked.commands.clear()
    (toy / "pretrain.yaml").write_text((toy / "pretrain.yaml").read_text() + "# a comment changes nothing\n")
    assert part("").main(run) == 0
    if change == "photographs":
        _photograph(data / "new.png")
    else:
        (toy / "adapter.yaml").write_text((toy / "adapter.yaml").read_text().replace("rank: 32", "rank: 16"))
    assert part("").main(run) == 2
    assert f"out is of other {change}; choose another OUTPUT, or remove it" in capsys.readouterr().err
    assert faked.commands == []


def test_a_bias_of_what_is_not_trained_is_told_before_training(
    part: Callable[[str], Any], data: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (toy / "estimator.yaml").read_text()
    (toy / "estimator.yaml").write_text(re.sub(r"bias: .*", "bias: {clean: 1.0, low_light: 2.0}", text))
    assert part("").main(["--data", str(data), "--recipe", str(toy), "--output", str(tmp_path / "out")]) == 2
    assert "estimator.yaml has a bias of low_light; expected one of clean, noise" in capsys.readouterr().err
    assert not (tmp_path / "out" / "shards").exists()


def test_wrong_input_is_one_line(
    part: Callable[[str], Any], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    one = _photograph(tmp_path / "one" / "a.png").parent
    cases = {
        "": "no photographs are given; expected a folder of them: make weights DATA=",
        str(tmp_path / "missing"): "missing is not a folder; expected one of photographs",
        str(tmp_path / "empty"): "empty has no photographs; expected at least two files named .jpg, ",
        str(one): "one has 1 photograph; expected at least two files",
        str(tmp_path): "is in ",  # the output in it
    }
    for given, said in cases.items():
        assert part("").main(["--data", given, "--output", str(tmp_path / "out")]) == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()
    for budget in ("0", "1.5", "nan", "a"):
        with pytest.raises(SystemExit, match="2"):
            part("").main(["--data", str(data), "--budget", budget])


def test_commands_that_fail_stop_the_others(part: Callable[[str], Any], tmp_path: Path) -> None:
    processes = part("processes")
    said = tmp_path / "said" / "version.txt"
    processes.run_all([processes.Command("version", ["--version"], 1, said)])
    assert said.read_text().startswith("abair-pl ")
    wrong = processes.Command("wrong", ["no-command"], 1, tmp_path / "wrong.txt")
    with pytest.raises(
        processes.RecipeError, match=r"abair-pl no-command has failed \(status 2\); see .*wrong\.txt"
    ) as failed:
        processes.run_all([wrong, processes.Command("never", ["--version"], 1, tmp_path / "never.txt")])
    assert failed.value.status == 2
    assert not (tmp_path / "never.txt").exists()
    environment = processes.environment(3)
    assert environment["OMP_NUM_THREADS"] == "3"


def test_the_log_is_that_of_all_runs_of_a_phase(part: Callable[[str], Any], tmp_path: Path) -> None:
    names = "step,train/loss,train/images_per_second,val/psnr,val/ssim/rain,data/broken"
    rows = {0: ["0,0.5,9,,,0", "1,0.4,9,,,0", "1,,,20.5,0.9,", "2,0.9,9,,,0"], 1: ["2,0.3,9,,,0", "3,0.25"]}
    for number, lines in rows.items():
        (tmp_path / f"version_{number}").mkdir()
        (tmp_path / f"version_{number}" / "metrics.csv").write_text("\n".join([names, *lines]))
    (tmp_path / "version_2").mkdir()  # of a run that was killed before it logged anything
    found = part("log").read_metrics(tmp_path)
    assert found == {
        0: {"train/loss": "0.5"},
        1: {"train/loss": "0.4", "val/psnr": "20.5"},
        2: {"train/loss": "0.3"},
    }
    part("log").write_log(tmp_path, {"pretrain": found}, {"phases": {}})
    with (tmp_path / "training-log.csv").open() as stream:
        assert next(csv.reader(stream)) == ["phase", "step", "train/loss", "val/psnr"]


def _log(
    part: Callable[[str], Any],
    folder: Path,
    losses: dict[str, list[float]],
    steps: dict[str, int],
    precisions: dict[str, str] | None = None,
) -> Path:
    folder.mkdir()
    rows = {
        phase: {step: {"train/loss": repr(loss)} for step, loss in enumerate(values)}
        for phase, values in losses.items()
    }
    facts: dict[str, dict[str, Any]] = {phase: {"steps": count} for phase, count in steps.items()}
    for phase, precision in (precisions or {}).items():
        facts[phase]["precision"] = precision
    part("log").write_log(folder, rows, {"phases": facts})
    return folder / "training-log.csv"


def test_logs_are_compared_over_the_steps_that_both_have(
    part: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {"pretrain": [0.5, 0.4, 0.3], "adapter/rain": [0.2, 0.1], "estimator": [1.0]}
    count = {"pretrain": 3, "adapter/rain": 2, "estimator": 1}
    committed = _log(part, tmp_path / "committed", whole, count)
    equal = _log(part, tmp_path / "equal", {**whole, "pretrain": [0.5, 0.4 + 9e-7, 0.3]}, count)
    compare = ["--output", str(equal.parent), "--compare", str(committed)]
    assert part("").main(compare) == 0
    assert "pretrain: 3 logged losses up to step 2 agree to 1e-06" in capsys.readouterr().out

    other = _log(part, tmp_path / "other", {**whole, "adapter/rain": [0.2, 0.100002]}, count)
    assert part("").main(["--output", str(other.parent), "--compare", str(committed)]) == 1
    said = capsys.readouterr().out
    assert "adapter/rain: 1 of 2 logged losses up to step 1 differ, first at step 1: 0.100002 here, 0.1 in" in said

    nan = _log(part, tmp_path / "nan", {**whole, "pretrain": [0.5, float("nan")]}, count)
    assert part("").main(["--output", str(nan.parent), "--compare", str(committed)]) == 1

    # Adapters of another phase I are other adapters, and are not held against it.
    short = _log(
        part, tmp_path / "short", {**whole, "pretrain": [0.5], "adapter/rain": [7.0]}, {**count, "pretrain": 1}
    )
    capsys.readouterr()
    assert part("").main(["--output", str(short.parent), "--compare", str(committed)]) == 0
    said = capsys.readouterr().out
    assert "adapter/rain: not compared, as pretrain has 1 steps here, 3 there" in said
    assert "estimator: not compared" in said

    nothing = _log(part, tmp_path / "nothing", {"adapter/rain": [0.2]}, {"adapter/rain": 1})
    assert part("").main(["--output", str(nothing.parent), "--compare", str(committed)]) == 1
    assert part("").main(["--output", str(tmp_path / "none"), "--compare", str(committed)]) == 1
    assert "No such file" in capsys.readouterr().err


def test_logs_of_other_precisions_are_not_compared(
    part: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses, steps = {"pretrain": [0.5], "adapter/rain": [0.2]}, {"pretrain": 1, "adapter/rain": 1}
    half, full = "bf16-mixed", "32-true"
    committed = _log(part, tmp_path / "committed", losses, steps, {"pretrain": half, "adapter/rain": half})

    def said_of(name: str, precisions: dict[str, str], first: float = 0.5) -> tuple[int, str]:
        log = _log(part, tmp_path / name, {**losses, "pretrain": [first]}, steps, precisions)
        status = part("").main(["--output", str(log.parent), "--compare", str(committed)])
        return status, capsys.readouterr().out

    status, said = said_of("same", {"pretrain": half, "adapter/rain": half})
    assert (status, said.count("agree to")) == (0, 2)
    status, said = said_of("one", {"pretrain": half, "adapter/rain": full})
    assert (status, said.count("agree to")) == (0, 1)
    assert "adapter/rain: not compared, as adapter/rain was trained in 32-true here, in bf16-mixed there" in said
    status, said = said_of("all", {"pretrain": full, "adapter/rain": full})
    assert (status, said.count("agree to")) == (1, 0)
    assert "adapter/rain: not compared, as pretrain was trained in 32-true here" in said
    assert "nothing could be compared; expected phases of as many steps in the same precision" in said
    status, said = said_of("unfinished", {}, first=0.6)
    assert status == 1
    assert "pretrain: 1 of 1 logged losses up to step 0 differ" in said
    assert "pretrain: it has not ended, and its precision is not known" in said


@pytest.mark.parametrize("facts", ["[]", '{"phases": []}', '{"phases": {"pretrain": 3}}'])
def test_a_log_without_facts_is_no_log(
    facts: str, part: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = _log(part, tmp_path / "log", {"pretrain": [0.5]}, {"pretrain": 1})
    (log.parent / "training.json").write_text(facts)
    assert part("").main(["--output", str(log.parent), "--compare", str(log)]) == 1
    assert "training.json has no facts by phase; expected those" in capsys.readouterr().err


def test_a_part_of_the_budget_logs_the_start_of_the_whole(
    part: Callable[[str], Any],
    data: Path,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All commands in this process, one after the other, and no forecast: see below for all of it."""

    def run_here(commands: Sequence[Any], jobs: int = 1) -> None:
        for command in commands:
            assert main(list(command.arguments)) == 0, command.title

    for module in (part(""), part("shards")):
        monkeypatch.setattr(module, "run_all", run_here)
    monkeypatch.setattr(part(""), "print_forecast", lambda *arguments: None)
    run = ["--data", str(data), "--recipe", str(toy), "--dead-leaves", "1", "--output"]
    half, whole = tmp_path / "half", tmp_path / "whole"
    assert part("").main([*run, str(whole)]) == 0
    assert part("").main([*run, str(half), "--budget", "0.5"]) == 0
    assert (half / "bundle" / "estimator.safetensors").is_file()
    check = ["--output", str(half), "--compare", str(whole / "training-log.csv")]
    capsys.readouterr()
    assert part("").main(check) == 0
    said = capsys.readouterr().out
    assert "pretrain: 4 logged losses up to step 3 agree to 1e-06" in said
    assert "adapter/noise: not compared, as pretrain has 4 steps here, 8 there" in said
    assert part("").main([*run, str(half)]) == 0
    assert (half / "bundle.previous").is_dir()
    capsys.readouterr()
    assert part("").main(check) == 0
    said = capsys.readouterr().out
    assert [line.split()[-2:] for line in said.splitlines()] == [["to", "1e-06"]] * 3, said


@pytest.mark.slow
def test_photographs_become_a_bundle_though_the_driver_is_killed(data: Path, toy: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run = [*DRIVER, "--data", str(data), "--recipe", str(toy), "--dead-leaves", "1", "--output", str(output)]
    silent = subprocess.DEVNULL
    with subprocess.Popen(run, stdout=silent, stderr=silent) as process:
        while process.poll() is None and not list(output.glob("pretrain/checkpoints/pretrain/run-*")):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"  adapter/noise +2 steps   \d+ s\n  estimator +2 steps   \d+ s\n  in all about", done.stdout)
    assert (output / "bundle" / "estimator.safetensors").is_file()
    assert not list(output.glob(".forecast-*"))
    assert set(json.loads((output / "training.json").read_text())["phases"]) == {
        "pretrain",
        "adapter/noise",
        "estimator",
    }
    again = subprocess.run(run, capture_output=True, text=True, check=True)
    assert f"{output / 'bundle'}: there already" in again.stdout
    assert "measuring" not in again.stdout
