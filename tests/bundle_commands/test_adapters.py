"""``abair-pl adapters``."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from abair_pl.bundle import Bundle, save_adapter, save_backbone
from abair_pl.bundle_config import write_config
from abair_pl.cli import main
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError
from abair_pl.models.adapters import AdapterMethod, ConvLoRA, LoRA, VeRA, read_method
from abair_pl.models.backbone import Backbone
from abair_pl.models.weights import fixed_weights

METHODS: list[AdapterMethod] = [LoRA(rank=3, alpha=6.0), VeRA(rank=5), ConvLoRA(rank=2)]


def hashes(path: Path) -> dict[str, str]:
    """The digest of each file of a bundle."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): file_sha256(file) for file in files}


def run(*arguments: object) -> int:
    return main(["adapters", *(str(argument) for argument in arguments)])


@pytest.fixture
def snow(backbone_path: Path, make_adapter: Callable[..., Any], tmp_path: Path) -> Bundle:
    """Another bundle of the same backbone, with one adapter."""
    base, method = Bundle.open(backbone_path), LoRA(rank=3, alpha=6.0)
    return save_adapter(tmp_path / "other", base, "snow", make_adapter(base, "snow", method), method, {"steps": 5})


def test_list_names_methods_and_settings(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", bundle.path) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[:2]] == [["rain", "lora", "rank", "2,"], ["haze", "lora", "rank", "4,"]]
    assert [line.split()[0] for line in lines] == list(bundle.config.adapters)
    assert last == "estimator: up to date"


def test_list_of_a_backbone_alone(backbone_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", backbone_path) == 0
    assert capsys.readouterr().out == "estimator: none, run phase III\n"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_adding_touches_nothing_else_and_retires_the_estimator(
    method: AdapterMethod,
    bundle_copy: Path,
    backbone_path: Path,
    make_adapter: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base, before = Bundle.open(backbone_path), hashes(bundle_copy)
    other = save_adapter(tmp_path / "other", base, "snow", make_adapter(base, "snow", method), method, {"steps": 5})
    assert run("add", bundle_copy, "--source", other.path / "adapters" / "snow") == 0
    after = hashes(bundle_copy)
    assert {name for name in before if after.get(name) != before[name]} == {"config.json", "README.md"}
    new = {"adapters/snow/adapter_config.json", "adapters/snow/adapter_model.safetensors"}
    assert after.keys() - before.keys() == new
    assert all(after[name] == hashes(other.path)[name] for name in new)
    assert capsys.readouterr().out.splitlines()[-1].startswith("estimator: out of date, run phase III")
    assert Bundle.open(bundle_copy).config.adapters["snow"] == method
    image = torch.rand(1, 3, 16, 16)
    both = [Bundle.open(path).blended().eval() for path in (bundle_copy, other.path)]
    with torch.no_grad():
        first, second = (b(image, fixed_weights({"snow": 1.0}, b.names, 1)) for b in both)
    torch.testing.assert_close(first, second)


def test_adding_from_a_bundle_takes_the_named_adapter_and_its_facts(bundle_copy: Path, snow: Bundle) -> None:
    assert run("add", bundle_copy, "--source", snow.path, "--name", "snow") == 0
    config = Bundle.open(bundle_copy).config
    assert config.adapters["snow"] == LoRA(rank=3, alpha=6.0)
    assert config.provenance["adapter/snow"] == {"steps": 5}


def test_adding_under_another_name(bundle_copy: Path, snow: Bundle) -> None:
    assert run("add", bundle_copy, "--source", snow.path / "adapters" / "snow", "--name", "sleet") == 0
    assert list(Bundle.open(bundle_copy).adapters())[-1] == "sleet"


def fails(capsys: pytest.CaptureFixture[str], bundle: Path, *arguments: object, says: str) -> None:
    """Run a command that must fail in one line and change nothing."""
    before = hashes(bundle)
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("abair-pl: error: ")
    assert says in line
    assert hashes(bundle) == before


def test_what_cannot_be_added_is_refused(bundle_copy: Path, snow: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    add, folder = ("add", bundle_copy, "--source"), snow.path / "adapters" / "snow"
    fails(capsys, bundle_copy, *add, folder, "--name", "rain", says="has an adapter 'rain' already; remove it first")
    fails(capsys, bundle_copy, *add, folder, "--name", "soft", says="'soft' cannot name an adapter")
    fails(capsys, bundle_copy, *add, snow.path, says="is a bundle; expected --name, one of: snow")
    fails(capsys, bundle_copy, *add, snow.path, "--name", "dust", says="has no adapter 'dust'; it has: snow")
    fails(capsys, bundle_copy, *add, snow.path / "nowhere", says="nowhere/adapter_config.json is missing")


def test_an_adapter_of_another_backbone_is_not_added(
    bundle_copy: Path,
    make_backbone: Callable[..., Backbone],
    snow: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = save_backbone(tmp_path / "stranger", make_backbone(seed=3), "nano", ["rain"] * 5, {})
    command = ("add", other.path, "--source", snow.path / "adapters" / "snow")
    fails(capsys, other.path, *command, says="was trained on abair-backbone-")


def test_a_failed_addition_leaves_the_bundle_as_it_was(
    bundle_copy: Path, snow: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InterruptedError

    before = hashes(bundle_copy)
    monkeypatch.setattr("abair_pl.bundle.write_config", fail)
    with pytest.raises(InterruptedError):
        run("add", bundle_copy, "--source", snow.path, "--name", "snow")
    assert hashes(bundle_copy) == before


def test_removing_touches_nothing_else(bundle_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashes(bundle_copy)
    assert run("remove", bundle_copy, "--name", "noise") == 0
    after = hashes(bundle_copy)
    assert all(name.startswith("adapters/noise/") for name in before.keys() - after.keys())
    assert {name for name in after if after[name] != before[name]} == {"config.json", "README.md"}
    bundle = Bundle.open(bundle_copy)
    assert list(bundle.adapters()) == ["rain", "haze", "blur", "low_light"]
    assert "adapter/noise" not in bundle.config.provenance
    assert not (bundle_copy / "adapters" / "noise").exists()
    expected = "estimator: out of date, run phase III (it knows rain, haze, noise, blur, low_light)"
    assert capsys.readouterr().out.splitlines()[-1] == expected


def test_removing_what_is_not_there_is_refused(
    bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says = "has no adapter 'snow'; it has: rain, haze, noise, blur, low_light"
    fails(capsys, bundle_copy, "remove", bundle_copy, "--name", "snow", says=says)
    fails(capsys, bundle_copy, "remove", tmp_path / "nowhere", "--name", "snow", says="no bundle at")
    assert not (tmp_path / "nowhere").exists()


def test_a_merged_bundle_is_of_no_tracked_run(bundle_copy: Path, tmp_path: Path) -> None:
    config = Bundle.open(bundle_copy).config
    pretrain = {**config.provenance["pretrain"], "wandb_project": "a", "wandb_group": "b", "wandb_run": "c"}
    write_config(bundle_copy, replace(config, provenance={**config.provenance, "pretrain": pretrain}))
    assert run("merge", bundle_copy, "--weights", "rain=0.7", "--output", tmp_path / "merged") == 0
    facts = Bundle.open(tmp_path / "merged").config.provenance["pretrain"]
    assert facts["merged"] == "rain=0.7"
    assert not [fact for fact in facts if fact.startswith("wandb_")]


def test_a_merged_bundle_restores_as_the_mixture(bundle: Bundle, tmp_path: Path) -> None:
    assert run("merge", bundle.path, "--weights", "rain=0.7,noise=0.3", "--output", tmp_path / "merged") == 0
    merged, image = Bundle.open(tmp_path / "merged"), torch.rand(1, 3, 24, 20)
    assert merged.config.adapters == {}
    assert merged.config.estimated == {}
    assert merged.config.degradations == bundle.config.degradations
    facts = merged.config.provenance["pretrain"]
    assert facts["merged"] == "rain=0.7,noise=0.3"
    assert facts["merged_into"] == bundle.config.backbone_sha256 != merged.config.backbone_sha256
    blended = bundle.blended().eval()
    with torch.no_grad():
        expected = blended(image, fixed_weights({"rain": 0.7, "noise": 0.3}, blended.names, 1))
        torch.testing.assert_close(merged.backbone().eval()(image), expected, atol=1e-5, rtol=1e-5)
        assert (expected - blended(image, None)).abs().max() > 1e-2


def test_what_cannot_be_merged_is_refused(
    bundle_copy: Path, make_adapter: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, method = Bundle.open(bundle_copy), ConvLoRA(rank=1)
    save_adapter(bundle_copy, bundle, "snow", make_adapter(bundle, "snow", method), method, {})
    merge = ("merge", bundle_copy, "--output", tmp_path / "merged", "--weights")
    fails(capsys, bundle_copy, *merge, "rain=0.5,snow=0.5", says="adapter snow is a Conv-LoRA")
    fails(capsys, bundle_copy, *merge, "rian=1", says="did you mean 'rain'?")
    fails(capsys, bundle_copy, *merge, "rain", says="expected NAME=NUMBER")
    same = ("merge", bundle_copy, "--output", bundle_copy, "--weights", "rain=1")
    fails(capsys, bundle_copy, *same, says="the bundle itself; expected another directory")
    assert not (tmp_path / "merged").exists()


def test_help_says_that_the_bundle_stands_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "--help") == 0
    assert "bundle" in capsys.readouterr().out.partition("positional arguments:")[2].partition("options:")[0]


def test_an_adapter_whose_files_are_gone_is_listed_as_missing_and_can_be_removed(
    bundle_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(bundle_copy / "adapters" / "rain")
    assert run("list", bundle_copy) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("missing: remove it, or train it again")
    assert lines[-1] == "estimator: not usable, files of rain are missing"
    assert run("remove", bundle_copy, "--name", "rain") == 0
    assert "rain" not in Bundle.open(bundle_copy).config.adapters


def test_list_tells_an_exchanged_adapter_and_a_missing_estimator(
    bundle_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bundle_copy / "adapters" / "noise" / "adapter_model.safetensors"
    shutil.copy(bundle_copy / "adapters" / "rain" / file.name, file)
    assert run("list", bundle_copy) == 0
    expected = "estimator: out of date, run phase III (adapters have changed since)"
    assert capsys.readouterr().out.splitlines()[-1] == expected
    (bundle_copy / "estimator.safetensors").unlink()
    assert run("list", bundle_copy) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "estimator: missing (estimator.safetensors), run phase III"


def test_an_adapter_that_was_exchanged_under_its_name_retires_the_estimator(
    bundle_copy: Path, snow: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("remove", bundle_copy, "--name", "low_light") == 0
    assert run("add", bundle_copy, "--source", snow.path / "adapters" / "snow", "--name", "low_light") == 0
    assert "out of date" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(BundleError, match="run phase III"):
        Bundle.open(bundle_copy).estimator()


def test_an_adapter_with_damage_is_refused_before_anything_is_written(
    bundle_copy: Path, snow: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    file = snow.path / "adapters" / "snow" / "adapter_model.safetensors"
    save_file({name: value * torch.nan for name, value in load_file(file).items()}, file)
    fails(
        capsys, bundle_copy, "add", bundle_copy, "--source", file.parent, says=f"adapter {file.parent} cannot be read"
    )


def test_a_name_that_is_taken_meanwhile_is_refused(
    bundle_copy: Path, snow: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process adds one of the same name while this one reads its own."""
    add = ("add", bundle_copy, "--source", snow.path / "adapters" / "snow")

    def slow(*arguments: Any) -> AdapterMethod:
        monkeypatch.undo()
        assert run(*add) == 0
        return read_method(*arguments)

    monkeypatch.setattr("abair_pl.bundle_commands.adapters.read_method", slow)
    assert run(*add) == 2
    assert "has an adapter 'snow' already" in capsys.readouterr().err


def test_a_name_that_leads_out_of_the_bundle_removes_nothing(
    bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = bundle_copy.parent / "victim"
    victim.mkdir()
    (victim / "mine").write_text("mine")
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    values["adapters"]["../../victim"] = values["adapters"]["rain"]
    file.write_text(json.dumps(values))
    fails(
        capsys, bundle_copy, "remove", bundle_copy, "--name=../../victim", says="'../../victim' cannot name an adapter"
    )
    assert (victim / "mine").exists()
