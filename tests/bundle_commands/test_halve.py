"""``abair-pl bundle halve``."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from abair_pl.bundle import BACKBONE_FILE, ESTIMATOR_FILE, Bundle, save_adapter
from abair_pl.bundle_commands.halve import size_bytes
from abair_pl.bundle_config import write_config
from abair_pl.bundle_files import digests_of
from abair_pl.cli import main
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError
from abair_pl.models.adapters import ADAPTER_FILES, WEIGHTS_FILE, AdapterMethod, ConvLoRA, LoRA, VeRA, attach_adapter
from abair_pl.models.adapters.base import base_name
from abair_pl.models.adapters.vera import as_linear
from abair_pl.models.calibration import Calibration
from abair_pl.models.weights import fixed_weights
from abair_pl.restore import Abair

METHODS: list[AdapterMethod] = [LoRA(rank=3, alpha=6.0), VeRA(rank=5), ConvLoRA(rank=2)]
REPOSITORY = Path(__file__).parents[2]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def hashes(path: Path) -> dict[str, str]:
    """The digest of each file of a bundle."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): file_sha256(file) for file in files}


def weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a bundle, by file and name."""
    files = sorted(path.rglob("*.safetensors"))
    return {f"{file.relative_to(path)} {name}": value for file in files for name, value in load_file(file).items()}


def halved(bundle: Path, output: Path) -> Bundle:
    assert run("bundle", "halve", bundle, "--output", output) == 0
    return Bundle.open(output)


@pytest.fixture(scope="module")
def half(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The complete bundle with rounded weights; not to be changed."""
    return halved(bundle.path, tmp_path_factory.mktemp("half") / "bundle")


@pytest.fixture
def half_copy(half: Bundle, tmp_path: Path) -> Path:
    """A rounded bundle that the test may change."""
    return Path(shutil.copytree(half.path, tmp_path / "half" / "bundle"))


def test_all_weights_are_rounded_and_take_half(bundle: Bundle, half: Bundle) -> None:
    before, after = weights(bundle.path), weights(half.path)
    assert before.keys() == after.keys()
    assert {value.dtype for value in after.values()} == {torch.float16}
    for name, value in before.items():
        assert torch.equal(after[name], value.half()), name
    assert any(not torch.equal(after[name].float(), value) for name, value in before.items())
    stored = [sum(value.nbytes for value in tensors.values()) for tensors in (before, after)]
    assert stored[0] == 2 * stored[1]
    backbones = [(each.path / BACKBONE_FILE).stat().st_size for each in (bundle, half)]
    assert 0.5 <= backbones[1] / backbones[0] < 0.52
    assert size_bytes(half.path) < 0.7 * size_bytes(bundle.path), "the names of layers of toy size take as much"


def test_every_digest_is_that_of_its_file(half: Bundle) -> None:
    config = half.config
    assert config.backbone_sha256 == file_sha256(half.path / BACKBONE_FILE)
    assert config.estimator_sha256 == file_sha256(half.path / ESTIMATOR_FILE)
    assert config.adapter_files == {
        name: digests_of(half.path / "adapters" / name, ADAPTER_FILES) for name in config.adapters
    }
    assert config.estimated == {name: files[WEIGHTS_FILE] for name, files in config.adapter_files.items()}
    for name in config.adapters:
        settings = json.loads((half.path / "adapters" / name / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == base_name(config.backbone_sha256)


def test_what_is_no_weight_is_kept_and_the_rounding_noted(bundle: Bundle, half: Bundle) -> None:
    before, after = bundle.config, half.config
    for name in ("preset", "architecture", "degradations", "adapters", "calibration"):
        assert getattr(after, name) == getattr(before, name)
    assert list(after.estimated) == list(before.estimated)
    assert list(after.provenance) == list(before.provenance)
    for phase, facts in after.provenance.items():
        assert facts["rounded_to"] == "float16"
        assert facts["steps"] == before.provenance[phase]["steps"]
    assert after.provenance["pretrain"]["rounded_from"] == before.backbone_sha256
    assert after.provenance["adapter/haze"]["rounded_from"] == before.estimated["haze"]
    assert after.provenance["estimator"]["rounded_from"] == before.estimator_sha256


def test_a_calibration_is_kept(strange: Path, tmp_path: Path) -> None:
    assert halved(strange, tmp_path / "half").config.calibration == Calibration(2.0, 1e6)


def test_weights_are_float32_in_memory(half: Bundle) -> None:
    modules = [half.backbone(), half.estimator(), half.blended()]
    assert {value.dtype for module in modules for value in module.parameters()} == {torch.float32}
    updates = [update for adapter in half.adapters().values() for update in adapter.values()]
    assert {value.dtype for update in updates for value in (update.down, update.up)} == {torch.float32}


@pytest.mark.parametrize("blend", ["none", "rain", "soft", "pixel"])
def test_it_restores_as_before_but_for_the_rounding(bundle: Bundle, half: Bundle, blend: str) -> None:
    image = torch.rand(3, 40, 36)
    whole, rounded = (Abair.from_pretrained(each.path, "cpu").restore(image, blend) for each in (bundle, half))
    apart = (whole.restored - rounded.restored).abs().max()
    assert 0 < apart < 2e-3
    for name, weight in whole.weights.items():
        assert rounded.weights[name] == pytest.approx(weight, abs=2e-3)


def test_halving_again_changes_nothing(half: Bundle, tmp_path: Path) -> None:
    assert hashes(halved(half.path, tmp_path / "quarter").path) == hashes(half.path)


def test_the_source_is_left_as_it_was(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashes(bundle.path)
    halved(bundle.path, tmp_path / "half")
    assert hashes(bundle.path) == before
    megabytes = [f"{size_bytes(path) / 1e6:.2f} MB" for path in (tmp_path / "half", bundle.path)]
    expected = f"{tmp_path / 'half'}: {megabytes[0]}, rounded from {megabytes[1]} at {bundle.path}\n"
    assert capsys.readouterr().out == expected
    assert [entry.name for entry in tmp_path.iterdir()] == ["half"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_adapters_of_each_method(
    method: AdapterMethod, backbone_path: Path, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    base = Bundle.open(backbone_path)
    made = save_adapter(tmp_path / "made", base, "snow", make_adapter(base, "snow", method), method, {})
    half = halved(made.path, tmp_path / "half")
    image = torch.rand(1, 3, 24, 20)
    with torch.no_grad():
        whole, rounded = (
            each.blended().eval()(image, fixed_weights({"snow": 1.0}, ["snow"], 1)) for each in (made, half)
        )
        assert 0 < (whole - rounded).abs().max() < 2e-3
        folder, digest = half.adapter_folder("snow"), half.config.backbone_sha256
        model = attach_adapter(half.backbone(), "snow", method, digest, folder).eval()
        torch.testing.assert_close(model(image), rounded, atol=1e-5, rtol=1e-5)
    trained = [value for value in model.parameters() if value.requires_grad]
    assert {value.dtype for value in trained} == {torch.float32}, "it can be trained further"


@pytest.mark.parametrize("method", METHODS[:2], ids=lambda method: method.name)
def test_peft_opens_its_adapters(
    method: AdapterMethod, backbone_path: Path, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    base = Bundle.open(backbone_path)
    made = save_adapter(tmp_path / "made", base, "snow", make_adapter(base, "snow", method), method, {})
    half, image = halved(made.path, tmp_path / "half"), torch.rand(1, 3, 20, 24)
    backbone = as_linear(half.backbone()) if isinstance(method, VeRA) else half.backbone()
    model = PeftModel.from_pretrained(backbone, str(half.path / "adapters" / "snow")).eval()
    with torch.no_grad():
        restored = half.blended().eval()(image, fixed_weights({"snow": 1.0}, ["snow"], 1))
        torch.testing.assert_close(restored, model(image), atol=1e-5, rtol=1e-5)
        assert (restored - half.backbone()(image)).abs().max() > 1e-3, "the adapter should matter"


def test_a_backbone_alone(backbone_path: Path, tmp_path: Path) -> None:
    half = halved(backbone_path, tmp_path / "half")
    assert (half.config.adapters, half.config.estimated, half.config.estimator_sha256) == ({}, {}, "")
    assert list(half.config.provenance) == ["pretrain"]


def test_adapters_are_listed_added_merged_and_removed(
    half_copy: Path, make_adapter: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half, method = Bundle.open(half_copy), LoRA(rank=3)
    assert run("adapters", "list", half_copy) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "estimator: up to date"
    other = save_adapter(tmp_path / "other", half, "snow", make_adapter(half, "snow", method), method, {"steps": 5})
    assert run("adapters", "add", half_copy, "--source", other.path, "--name", "snow") == 0
    assert Bundle.open(half_copy).config.provenance["adapter/snow"] == {"steps": 5}, "not rounded"
    assert run("adapters", "merge", half_copy, "--weights", "snow=0.5,rain=0.5", "--output", tmp_path / "merged") == 0
    blended, image = Bundle.open(half_copy).blended().eval(), torch.rand(1, 3, 24, 20)
    with torch.no_grad():
        expected = blended(image, fixed_weights({"snow": 0.5, "rain": 0.5}, blended.names, 1))
        found = Bundle.open(tmp_path / "merged").backbone().eval()(image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert run("adapters", "remove", half_copy, "--name", "snow") == 0
    assert list(Bundle.open(half_copy).config.adapters) == list(half.config.adapters)
    Bundle.open(half_copy).estimator()


def test_an_adapter_of_the_source_does_not_fit(
    bundle: Bundle, half_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("adapters", "remove", half_copy, "--name", "rain") == 0
    assert run("adapters", "add", half_copy, "--source", bundle.path, "--name", "rain") == 2
    assert f"was trained on {base_name(bundle.config.backbone_sha256)}" in capsys.readouterr().err


def test_phases_go_on_from_it(half: Bundle, sample_shards: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    options = [f"--data.train={sample_shards}/train", f"--data.val={sample_shards}/val", "--data.workers=0"]
    options += ["--data.batch_size=4", "--data.patch_px=16", "--data.val_patch_px=16", "--trainer.max_steps=1"]
    options += ["--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.limit_val_batches=1"]
    options += [f"--trainer.default_root_dir={tmp_path}", f"--trainer.logger.save_dir={tmp_path}"]
    options += ["--trainer.enable_progress_bar=false", "--trainer.num_sanity_val_steps=0", "--trainer.callbacks=[]"]
    for phase, start, own in (("adapter", half.path, ["--model.degradation=rain"]), ("estimator", output, [])):
        command = ["fit", f"--config={REPOSITORY}/configs/{phase}.yaml", f"--model.init_from={start}"]
        assert run(*command, f"--model.save_to={output}", *own, *options) == 0
    made = Bundle.open(output)
    assert made.config.backbone_sha256 == half.config.backbone_sha256
    assert made.config.provenance["adapter/rain"]["steps"] == 1
    assert made.config.provenance["adapter/haze"] == half.config.provenance["adapter/haze"]
    assert Abair.from_pretrained(output, "cpu").restore(torch.rand(3, 16, 16), "soft").restored.isfinite().all()


@pytest.mark.parametrize("part", ["backbone", "adapter", "estimator"])
def test_what_float16_cannot_hold_is_refused(
    part: str, bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Bundle.open(bundle_copy)
    place = {"backbone": BACKBONE_FILE, "estimator": ESTIMATOR_FILE}.get(part, f"adapters/rain/{WEIGHTS_FILE}")
    tensors = load_file(bundle_copy / place)
    name = next(name for name, value in tensors.items() if value.numel() > 1)
    tensors[name].view(-1)[1] = -7e4
    save_file(tensors, bundle_copy / place)
    made = bundle.config
    digest = file_sha256(bundle_copy / place)
    if part == "estimator":
        made = replace(made, estimator_sha256=digest)
    elif part == "adapter":
        files = {**made.adapter_files, "rain": digests_of(bundle_copy / "adapters" / "rain", ADAPTER_FILES)}
        made = replace(made, adapter_files=files, estimated={**made.estimated, "rain": digest})
    else:
        made = replace(made, backbone_sha256=digest, adapters={}, adapter_files={}, estimated={})
    write_config(bundle_copy, made)
    assert run("bundle", "halve", bundle_copy, "--output", tmp_path / "half") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{bundle_copy / place}: {name} holds 7e+04, float16 at most 65504" in line
    assert not (tmp_path / "half").exists()
    assert not [entry for entry in tmp_path.iterdir() if "scratch" in entry.name]


def test_an_estimator_that_is_out_of_date_is_refused(
    bundle_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("adapters", "remove", bundle_copy, "--name", "rain") == 0
    assert run("bundle", "halve", bundle_copy, "--output", tmp_path / "half") == 2
    assert "run phase III: configs/estimator.yaml" in capsys.readouterr().err
    assert not (tmp_path / "half").exists()


def test_a_damaged_bundle_is_refused(bundle_copy: Path, tmp_path: Path) -> None:
    for file in bundle_copy.rglob("*.safetensors"):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert run("bundle", "halve", bundle_copy, "--output", tmp_path / "half") == 2, file
        assert not (tmp_path / "half").exists()
        file.write_bytes(whole)


def test_the_bundle_that_was_there_is_kept(half_copy: Path, bundle: Bundle, backbone_path: Path) -> None:
    before = hashes(half_copy)
    halved(backbone_path, half_copy)
    assert hashes(half_copy.with_name("bundle.previous")) == before
    halved(bundle.path, half_copy)
    assert hashes(half_copy) == before


def test_output_over_the_source_is_refused(bundle_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashes(bundle_copy)
    assert run("bundle", "halve", bundle_copy, "--output", bundle_copy) == 2
    assert "the bundle itself" in capsys.readouterr().err
    assert hashes(bundle_copy) == before


def test_a_write_that_fails_leaves_what_was_there(
    bundle: Bundle, half_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(half_copy)

    def fail(*_: object, **__: object) -> None:
        raise BundleError("gone")  # noqa: EM101

    monkeypatch.setattr("abair_pl.bundle_commands.halve.write_config", fail)
    assert run("bundle", "halve", bundle.path, "--output", half_copy) == 2
    assert hashes(half_copy) == before
    assert [entry.name for entry in half_copy.parent.iterdir()] == ["bundle"]


def test_a_rounded_bundle_is_of_no_tracked_run(bundle_copy: Path, tmp_path: Path) -> None:
    config = Bundle.open(bundle_copy).config
    tracked = {
        phase: {**facts, "wandb_project": "a", "wandb_group": "b", "wandb_run": "c"}
        for phase, facts in config.provenance.items()
    }
    write_config(bundle_copy, replace(config, provenance=tracked))
    facts = halved(bundle_copy, tmp_path / "half").config.provenance
    assert not [fact for phase in facts.values() for fact in phase if fact.startswith("wandb_")]
