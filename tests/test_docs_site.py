"""The site of ``make docs``: built without a warning, asking no other host, with all settings and options."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from abair_pl import cli
from abair_pl.cli import _functions
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.synthesis import SynthesisConfig
from abair_pl.models.adapters import ConvLoRA, LoRA, VeRA
from abair_pl.modules.adapter import AdapterModule
from abair_pl.modules.callbacks import RollingCheckpoint
from abair_pl.modules.estimator import EstimatorModule
from abair_pl.modules.execution import ExecutionConfig
from abair_pl.modules.guard import GuardConfig
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule
from abair_pl.modules.tracking import TrackingConfig

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"^<!-- (settings|command|summary) (\S+)(?: (\S+))? -->$", re.MULTILINE)
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
SETTINGS: dict[str, list[type]] = {
    "model": [PretrainModule, AdapterModule, EstimatorModule],
    "model.adapter": [LoRA, VeRA, ConvLoRA],
    "model.optimization": [OptimizationConfig],
    "model.guard": [GuardConfig],
    "model.execution": [ExecutionConfig],
    "data": [RestorationDataModule],
    "data.synthesis": [SynthesisConfig],
    "tracking": [TrackingConfig],
    "checkpoints": [RollingCheckpoint],
}


class Links(HTMLParser):
    """What a page loads, what it leads to, and its anchors."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.leads_to: list[str] = []
        self.anchors = {""}
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given.get("id", ""), given.get("name", "")}
        if tag == "a" and "href" in given:
            self.leads_to.append(given["href"])
        if (address := given.get(LOADED.get(tag, ""), "")) and given.get("rel") != "canonical":
            self.loaded.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {path: Links(path) for path in site.glob("*.html") if path.name != "404.html"}


@pytest.fixture(scope="module")
def options() -> ModuleType:
    spec = importlib.util.spec_from_file_location("abair_docs_options", ROOT / "docs" / "options.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(table: str) -> list[str]:
    """The first column of a table."""
    return [line.split("`")[1].removesuffix(" …") for line in table.splitlines()[2:]]


def markers(page: str) -> list[tuple[str, str, str]]:
    return MARKER.findall((ROOT / "docs" / page).read_text())


def test_every_page_is_there(site: Path, pages: dict[Path, Links]) -> None:
    expected = {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}
    assert {path.name for path in pages} == expected | {"shards.html", "changelog.html", "contributing.html"}
    assert not list(site.rglob("*.py"))


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Links]) -> None:
    addresses = [address for links in pages.values() for address in links.loaded]
    assert addresses
    assert [address for address in addresses if urlsplit(address).netloc] == []
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//[^)]*", sheet.read_text()) == []


def test_links_lead_to_what_is_there(pages: dict[Path, Links]) -> None:
    for path, links in pages.items():
        for address in (*links.leads_to, *links.loaded):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            found = (path.parent / unquote(parts.path)) if parts.path not in ("", ".") else path
            assert found.exists(), f"{path.name}: {address}"
            if found in pages:
                assert unquote(parts.fragment) in pages[found].anchors, f"{path.name}: {address}"


def test_links_out_of_the_pages_lead_to_the_same_files(site: Path) -> None:
    file = "configs/wandb/sweep.yaml"
    assert f"(../{file})" in (ROOT / "docs" / "tracking.md").read_text()
    assert f'href="repository/{file}"' in (site / "tracking.html").read_text()
    assert (site / "repository" / file).read_text() == (ROOT / file).read_text()


def test_no_marker_and_no_role_is_left(pages: dict[Path, Links]) -> None:
    for path in pages:
        text = path.read_text()
        assert MARKER.search(text) is None, path.name
        assert re.search(r":(class|func|meth):", text) is None, path.name


def test_all_settings_are_on_the_page() -> None:
    found = {(path.rpartition(".")[2], key) for kind, path, key in markers("configuration.md") if kind == "settings"}
    assert found == {(each.__name__, key) for key, classes in SETTINGS.items() for each in classes}


@pytest.mark.parametrize("marker", markers("configuration.md"), ids=lambda marker: marker[1])
def test_tables_have_every_setting(marker: tuple[str, str, str], options: ModuleType) -> None:
    _, path, key = marker
    (each,) = [each for each in SETTINGS[key] if each.__name__ == path.rpartition(".")[2]]
    table = options.setting_table(path, key)
    assert names(table) == list(inspect.signature(each).parameters)
    for line in table.splitlines()[2:]:
        assert line.strip("| ").rpartition(" | ")[2].endswith("."), line


def test_values_of_the_configurations(options: ModuleType) -> None:
    table = options.setting_table("abair_pl.modules.optimization.OptimizationConfig", "model.optimization")
    (row,) = [line for line in table.splitlines() if line.startswith("| `learning_rate` |")]
    assert row.startswith("| `learning_rate` | `float` | `0.0002` | `0.0003` (pretrain), `0.0005` (adapter), `0.0005`")
    vera = options.setting_table("abair_pl.models.adapters.vera.VeRA", "model.adapter")
    assert "(adapter)" not in vera, "adapter.yaml has LoRA's rank"


def commands() -> dict[str, Callable[..., Any]]:
    """All functions behind commands, by their paths."""
    groups = [name for name in cli._COMMANDS if name not in cli._TRAINER_COMMANDS]
    functions = [function for name in groups for function in _functions(name).values()]
    return {f"{function.__module__}.{function.__qualname__}": function for function in functions}


def test_all_commands_are_on_the_page() -> None:
    found = markers("commands.md")
    assert {path for kind, path, _ in found if kind == "summary"} == commands().keys()
    with_options = {path for path, function in commands().items() if inspect.signature(function).parameters}
    assert {path for kind, path, _ in found if kind == "command"} == with_options


@pytest.mark.parametrize("path", commands())
def test_tables_have_every_option(path: str, options: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    function = commands()[path]
    found = names(options.command_table(path))
    assert len(found) == len(inspect.signature(function).parameters)
    with pytest.raises(SystemExit):
        cli._call("abair-pl", function, ["--help"])
    said = capsys.readouterr().out
    for name in found:
        assert re.search(rf"(?<![\w-]){name if name.startswith('--') else name.lower()}\b", said), name
