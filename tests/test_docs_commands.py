"""Every command of README.md and the pages is one that the programs understand; none is run here."""

import functools
import inspect
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.doc_commands import PAGES, PROGRAMS, ROOT, Command, blocks, commands, other_lines

from abair_pl import cli
from abair_pl.cli import main

OURS, MADE, RUN_BY_PYTHON, INSTALLED = (
    [command for page in PAGES for command in commands(page) if command.program == program]
    for program in ("abair-pl", "make", "python", "pip")
)
CHECKED_ELSEWHERE = {
    "sbatch": "tests/test_docs_cluster.py reads them with what the job scripts add",
    "torchrun": "tests/test_docs_cluster.py reads them by torchrun's own parser",
    "wandb": "W&B's own program",
    "tensorboard": "TensorBoard's own program",
}
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the project's, with the files that a page has the reader write."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("configs", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "scratches.yaml").write_text(blocks("docs/degradations.md", "yaml")[-1])
    (folder / "my_package.py").write_text(blocks("docs/degradations.md", "python")[-1])
    return folder


@pytest.fixture(autouse=True)
def _in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)


def recording(function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    """A function of the same signature and docstring that only notes that it was called."""

    @functools.wraps(function)
    def record(*_: Any, **__: Any) -> None:
        calls.append(function.__name__)

    return record


def test_there_are_commands() -> None:
    assert len(OURS) > 50
    assert MADE
    assert RUN_BY_PYTHON
    assert INSTALLED


@pytest.mark.parametrize("command", OURS, ids=str)
def test_options_are_known(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.words[1:]
    if words[0] in cli._TRAINER_COMMANDS:
        assert main([*words, "--print_config"]) == 0, capsys.readouterr().err
        return
    calls: list[str] = []
    functions = cli._functions(words[0])
    noting = {name: recording(function, calls) for name, function in functions.items()}
    monkeypatch.setattr(cli, "_functions", lambda _: noting)
    assert main(words) == 0, capsys.readouterr().err
    assert len(calls) == 1


@pytest.mark.parametrize("command", MADE, ids=str)
def test_targets_are_made(command: Command) -> None:
    for word in command.words[1:]:
        name, given, _ = word.partition("=")
        assert re.search(rf"\$\({name}\)" if given else rf"(?m)^{name}:.*##", MAKEFILE), word


@pytest.mark.parametrize("command", RUN_BY_PYTHON, ids=str)
def test_modules_have_these_options(command: Command) -> None:
    _, *words = command.words
    place = ROOT / words[1].replace(".", "/") if words[0] == "-m" else ROOT / words[0]
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert files
    source = "".join(file.read_text() for file in files)
    for option in (word for word in words if word.startswith("--")):
        assert f'"{option}"' in source, option


@pytest.mark.parametrize("command", INSTALLED, ids=str)
def test_extras_are_there(command: Command) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    words = command.words
    assert words[:2] == ["pip", "install"]
    for name in re.findall(r"\[([\w,]+)\]", command.text):
        assert set(name.split(",")) <= set(extras)


def test_no_line_is_left_out() -> None:
    """Each command is checked above, or by what :data:`CHECKED_ELSEWHERE` says."""
    checked = {"abair-pl", "make", "python", "pip", *CHECKED_ELSEWHERE}
    assert set(PROGRAMS) == checked
    assert [line for page in PAGES for line in other_lines(page)] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_have_these_options(page: str) -> None:
    """Those of running text, which may leave out what does not matter there; settings of phases are not looked at."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for group, *words in (found.split() for found in re.findall(r"`abair-pl ([a-z][^`]*)`", text)):
        if group in cli._TRAINER_COMMANDS:
            continue
        functions = cli._functions(group)
        names = [""] if "" in functions else [name for word in words[:1] for name in word.split("|")]
        assert set(names) <= set(functions), (group, words)
        known = {name for each in names for name in inspect.signature(functions[each]).parameters}
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= {*(f"--{name.rstrip('_').replace('_', '-')}" for name in known), "--help"}, (group, words)
