"""The bundle that ships with the package; and that a package which cannot be written to is enough."""

import json
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import abair_pl
from abair_pl.bundle import Bundle, save_adapter, save_backbone, save_estimator, shipped_bundle
from abair_pl.card.text import model_card
from abair_pl.cli import main
from abair_pl.errors import BundleError
from abair_pl.models.adapters import LoRA
from abair_pl.models.backbone import Backbone
from abair_pl.models.estimator import Estimator
from abair_pl.restore import Abair

REPOSITORY = Path(__file__).parents[1]
PLACE = Path(abair_pl.__file__).parent / "weights"
EIGHT = ["rain", "haze", "noise", "blur", "low_light", "snow", "jpeg", "bit_depth"]
MOST_BYTES = 12_000_000
NONE_SHIPPED = "this build ships no bundle; make one with 'make demo' and pass --bundle runs/demo/bundle"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def wrong_with(path: Path) -> list[str]:
    """What keeps a bundle from being shipped."""
    entries = [entry for entry in path.rglob("*") if entry.is_file()]
    expected = {"config.json", "README.md", "backbone.safetensors", "estimator.safetensors"}
    expected |= {f"adapters/{name}/adapter_{file}" for name in EIGHT for file in ("config.json", "model.safetensors")}
    wrong = []
    if (size := sum(entry.stat().st_size for entry in entries)) > MOST_BYTES:
        wrong.append(f"{size} bytes")
    if (found := {str(entry.relative_to(path)) for entry in entries}) != expected:
        wrong.append(f"files {sorted(found ^ expected)}")
    config = Bundle.open(path).config
    if list(config.adapters) != EIGHT or config.degradations != EIGHT:
        wrong.append(f"adapters {list(config.adapters)}")
    if (path / "README.md").read_text() != model_card(config.values()):
        wrong.append("another model card")
    try:
        model = Abair.from_pretrained(path, "cpu")
        model.estimator()
    except BundleError as error:
        wrong.append(str(error))
    return wrong


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, size and time of change of a folder and all that is in it."""
    entries = {str(entry): entry.stat() for entry in (folder, *folder.rglob("*"))}
    return {name: (found.st_mode, found.st_size, found.st_mtime_ns) for name, found in entries.items()}


@pytest.fixture(scope="module")
def made(
    make_backbone: Callable[..., Backbone], make_adapter: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle of toy size that could be shipped; not to be changed."""
    folder, method = tmp_path_factory.mktemp("made"), LoRA(rank=1)
    bundle = save_backbone(folder / "whole", make_backbone(len(EIGHT) + 1), "nano", EIGHT, {"steps": 1})
    for index, name in enumerate(EIGHT):
        model = make_adapter(bundle, name, method, index)
        bundle = save_adapter(folder / "whole", bundle, name, model, method, {"steps": 2})
    save_estimator(folder / "whole", bundle, Estimator(4, len(EIGHT) + 1), {"steps": 3})
    assert run("bundle", "halve", folder / "whole", "--output", folder / "weights") == 0
    return folder / "weights"


@pytest.fixture
def installed(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that ships with a package whose files may not be changed."""
    place = Path(shutil.copytree(made, tmp_path / "site-packages" / "abair_pl" / "weights"))
    for entry in (*place.rglob("*"), place, place.parent):
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    monkeypatch.setattr("abair_pl.bundle.__file__", str(place.parent / "bundle.py"))
    return place


def test_what_ships_is_whole_or_its_absence_is_told(photographs: Path, tmp_path: Path) -> None:
    if not (PLACE / "config.json").exists():
        with pytest.raises(BundleError, match=NONE_SHIPPED):
            Abair.from_pretrained()
        return
    assert shipped_bundle() == PLACE
    assert wrong_with(PLACE) == []
    model = Abair.from_pretrained(device="cpu")
    assert model.bundle.config.preset == "tiny"
    assert run("restore", photographs / "photo-0.png", "--output", tmp_path / "out", "--device", "cpu") == 0


def test_a_build_without_a_bundle_says_so_in_a_line(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("abair_pl.bundle.__file__", str(tmp_path / "bundle.py"))
    suite = REPOSITORY / "configs" / "benchmark" / "table1.yaml"
    for command in (
        ["restore", photographs],
        ["evaluate", "--input", photographs, "--target", photographs],
        ["benchmark", "--suite", suite, "--photos", photographs],
    ):
        assert run(*command, "--output", tmp_path / "out") == 2
        assert capsys.readouterr().err == f"abair-pl: error: {NONE_SHIPPED}\n"


@pytest.mark.parametrize("kind", ["large", "more", "less", "damaged", "card", "order"])
def test_a_bundle_that_is_not_fit_to_ship_is_found(kind: str, made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(made, tmp_path / "weights"))
    assert wrong_with(path) == []
    if kind == "large":
        with (path / "backbone.safetensors").open("ab") as stream:
            stream.truncate(MOST_BYTES)
    elif kind == "more":
        (path / ".lock").touch()
    elif kind == "less":
        (path / "README.md").write_text("")
        assert run("adapters", "remove", path, "--name", "snow") == 0
    elif kind == "damaged":
        file = path / "adapters" / "jpeg" / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    elif kind == "card":
        (path / "README.md").write_text("nothing")
    else:
        values = json.loads((path / "config.json").read_text())
        values["adapters"] = dict(reversed(values["adapters"].items()))
        (path / "config.json").write_text(json.dumps(values))
    assert wrong_with(path) != []


def test_a_package_that_cannot_be_written_to_is_enough(installed: Path, photographs: Path, tmp_path: Path) -> None:
    before = state(installed.parent)
    assert shipped_bundle() == installed
    image = torch.rand(3, 24, 20)
    model = Abair.from_pretrained(device="cpu")
    for blend in ("soft", "one_hot", "pixel", "snow", "none"):
        assert model.restore(image, blend).restored.isfinite().all()
    task = {"title": "a", "dataset": "b", "layout": "folder", "root": "c", "degrade": "noise:sigma=25"}
    suite = {"title": "d", "tasks": {"e": task}, "methods": {"soft": {"title": "SW", "blend": "soft"}}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    for number, command in enumerate(
        (
            ["restore", photographs / "photo-0.png"],
            ["evaluate", "--clean", photographs, "--degrade", "noise:sigma=25"],
            ["benchmark", "--suite", tmp_path / "suite.yaml", "--photos", photographs],
        )
    ):
        assert run(*command, "--output", tmp_path / str(number), "--device", "cpu") == 0
    assert run("adapters", "list", installed) == 0
    assert state(installed.parent) == before


def test_phases_start_from_it_and_write_elsewhere(
    installed: Path, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    before, bundle, method = state(installed.parent), Bundle.open(installed), LoRA(rank=2)
    own = save_adapter(tmp_path / "own", bundle, "dust", make_adapter(bundle, "dust", method), method, {})
    own = save_adapter(tmp_path / "own", bundle, "rain", make_adapter(bundle, "rain", method), method, {})
    save_estimator(tmp_path / "own", own, Estimator(4, len(EIGHT) + 2), {}).estimator()
    assert list(own.config.adapters) == [*EIGHT, "dust"]
    assert run("adapters", "merge", installed, "--weights", "rain=1", "--output", tmp_path / "merged") == 0
    assert run("bundle", "halve", installed, "--output", tmp_path / "half") == 0
    assert state(installed.parent) == before


def test_packaging_leaves_none_of_its_files_out() -> None:
    """Wheels and archives of the sources have what is in the folder of the package and not in .gitignore."""
    ignored = [line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines()]
    places = ["config.json", "README.md", "backbone.safetensors", f"adapters/{EIGHT[0]}/adapter_config.json"]
    for place in places:
        parts = Path("src/abair_pl/weights", place).parts
        ends = ["/".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1)]
        assert not [(name, pattern) for name in ends for pattern in ignored if fnmatch(name, pattern)]
    assert 'packages = ["src/abair_pl"]' in (REPOSITORY / "pyproject.toml").read_text()
