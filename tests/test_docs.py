"""What docs/degradations.md says is what the package does."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from abair_pl.data.synthesis import SynthesisConfig
from abair_pl.degradations import BUILT_IN, Degradation, Range, Synthesizer, parse_degradation, resolve_composites
from abair_pl.evaluation.gallery import every_operator

PAGE = (Path(__file__).parents[1] / "docs" / "degradations.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
YAML = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("operator", every_operator(), ids=lambda operator: operator.name + operator.kind)
def test_table_gives_the_ranges(operator: Degradation) -> None:
    start = f"| `{operator.name}:kind={operator.kind}` |" if operator.kind else f"| `{operator.name}` | "
    rows = [line for line in PAGE.splitlines() if line.startswith(start) and line.count(" | ") > 2]
    assert len(rows) == 1
    for argument, parameter in inspect.signature(type(operator)).parameters.items():
        if argument == "severity":
            continue
        default = parameter.default
        ends = [re.escape(f"{end:g}") for end in (default if parameter.annotation == Range else [default])]
        assert re.search(rf"`{argument}` {' (→|…) '.join(ends)}(?![\d.])", rows[0]), argument


@pytest.mark.parametrize("name", ["noise", "blur"])
def test_page_gives_how_often_kinds_are_drawn(name: str) -> None:
    for operator, share in BUILT_IN[name].items():
        assert re.search(rf"{operator.kind}\s{share * 100:g} %", PAGE)


def test_grammar_is_understood() -> None:
    table = PAGE.partition("| text | means |")[2].partition("```")[0]
    texts = [text for text in re.findall(r"`([^`]+)`", table) if text != "kind" and "my_package" not in text]
    assert len(texts) >= 6
    for text in texts:
        assert parse_degradation(text).operators


def test_training_settings_are_complete() -> None:
    settings = YAML[0]["data"]["init_args"]["synthesis"]
    assert settings.keys() == inspect.signature(SynthesisConfig).parameters.keys()
    degradations = [parse_degradation(name) for name in YAML[0]["model"]["init_args"]["degradations"]]
    assert resolve_composites(settings["composites"], degradations)


def test_replay() -> None:
    exec(compile(PYTHON[0], "docs/degradations.md", "exec"), {})  # noqa: S102 - asserts by itself


def test_own_degradation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_package.py").write_text(PYTHON[1])
    monkeypatch.syspath_prepend(tmp_path)
    (entry,) = YAML[1]["data"]["init_args"]["synthesis"]["operators"]
    assert entry["class_path"] == "my_package.RandomScratches"
    operator = parse_degradation("my_package.RandomScratches:severity=0.8")
    synthesizer = Synthesizer.only(operator)
    clean = torch.rand(4, 3, 32, 200)
    plan = synthesizer.plan(torch.arange(4), "scratches")
    density = plan.steps[0].parameters["density"]
    assert np.allclose(density, 0.005 + 0.8 * 0.095)
    made = synthesizer(clean, plan)
    scratched = (made.degraded != clean).any(dim=1).any(dim=1).float().mean(dim=1)
    assert (scratched > 0.02).all()
    assert (scratched < 0.15).all()
    weak = synthesizer(
        clean,
        Synthesizer.only(parse_degradation("my_package.RandomScratches:density=0.01")).plan(
            torch.arange(4), "scratches"
        ),
    )
    assert (weak.degraded != clean).float().mean() < (made.degraded != clean).float().mean()
