"""What docs/new-degradation.md says of the files of a bundle is what both of its roads do, at toy size."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.doc_commands import ROOT, blocks, commands

from abair_pl.bundle import Bundle, shipped_bundle
from abair_pl.cli import main
from abair_pl.data.shards.build import build_shards

PAGE = "docs/new-degradation.md"
TOY = {
    "data.workers": 0,
    "data.batch_size": 4,
    "data.patch_px": 32,
    "data.val_patch_px": 32,
    "trainer.accelerator": "cpu",
    "trainer.enable_model_summary": "false",
    "trainer.enable_progress_bar": "false",
    "trainer.limit_val_batches": 1,
    "trainer.max_steps": 2,
    "trainer.val_check_interval": 2,
}

Fit = Callable[..., int]


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Run a phase at toy size in an empty folder, from one bundle to another."""
    monkeypatch.chdir(tmp_path)

    def run(config: str, source: Path, target: Path, train: object, val: object, *more: str) -> int:
        toy = [word for name, value in TOY.items() for word in (f"--{name}", str(value))]
        places = ["--model.init_from", str(source), "--model.save_to", str(target)]
        shards = ["--data.train", str(train), "--data.val", str(val)]
        return main(["fit", "--config", str(ROOT / "configs" / config), *places, *shards, *toy, *more])

    return run


def digests(bundle: Path) -> dict[str, str]:
    """The sha256 of each file."""
    files = [path for path in bundle.rglob("*") if path.is_file()]
    return {path.relative_to(bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_files(before: Path, after: Path, new: str) -> None:
    """See that exactly what the page's table says is new, and is another one."""
    old, now = digests(before), digests(after)
    assert {file for file in now if file not in old} == {
        f"adapters/{new}/adapter_config.json",
        f"adapters/{new}/adapter_model.safetensors",
    }
    assert {file for file in old if now[file] != old[file]} == {"config.json", "README.md", "estimator.safetensors"}
    bundle = Bundle.open(after)
    assert list(bundle.config.adapters) == [*Bundle.open(before).config.adapters, new]
    assert bundle.estimator_is_current


def test_page_names_the_files_that_change() -> None:
    table = (ROOT / PAGE).read_text().partition("| file of the bundle |")[2].partition("\n\n")[0].splitlines()[2:]
    kept = [line for line in table if "as it was" in line or "as they were" in line]
    assert [line.split("`")[1] for line in kept] == ["backbone.safetensors", "adapters/rain/"]
    assert [line.split("`")[1] for line in table if line not in kept] == [
        "adapters/scratches/",
        "estimator.safetensors",
        "config.json",
    ]
    adapters = list(Bundle.open(shipped_bundle()).config.adapters)
    assert (adapters[0], adapters[-1], len(adapters)) == ("rain", "bit_depth", 8)
    assert "`adapters/rain/` … `adapters/bit_depth/`" in table[1]


def test_from_an_operator(
    fit: Fit, bundle_path: Path, sample_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_package.py").write_text(blocks("docs/degradations.md", "python")[-1])
    monkeypatch.syspath_prepend(tmp_path)
    made, shards = tmp_path / "bundle", (sample_shards / "train", sample_shards / "val")
    operators = ["--data.synthesis.operators", '["my_package.RandomScratches"]']
    assert fit("adapter.yaml", bundle_path, made, *shards, "--model.degradation", "scratches", *operators) == 0
    assert fit("estimator.yaml", made, made, *shards, *operators) == 0
    check_files(bundle_path, made, "scratches")


def test_from_a_folder_of_pairs(
    fit: Fit, bundle_path: Path, sample_shards: Path, photographs: Path, tmp_path: Path
) -> None:
    for role in ("input", "target"):
        shutil.copytree(photographs, tmp_path / "pairs" / role)
    pairs = tmp_path / "shards"
    build_shards(tmp_path / "pairs", pairs, layout="paired", samples_per_shard=4, workers=1, degradation="scratches")
    made = tmp_path / "bundle"
    assert fit("adapter.yaml", bundle_path, made, pairs, pairs, "--model.degradation", "scratches") == 0
    train, val = f'{{"{sample_shards / "train"}": 1, "{pairs}": 1}}', f'["{sample_shards / "val"}", "{pairs}"]'
    assert fit("estimator.yaml", made, made, train, val) == 0
    check_files(bundle_path, made, "scratches")


def test_pairs_that_are_forgotten_in_phase_three_are_asked_for(
    fit: Fit,
    bundle_path: Path,
    sample_shards: Path,
    paired_shards: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = tmp_path / "bundle"
    assert fit("adapter.yaml", bundle_path, made, paired_shards, paired_shards, "--model.degradation", "scratches") == 0
    assert fit("estimator.yaml", made, made, sample_shards / "train", sample_shards / "val") == 2
    assert "unknown degradation 'scratches'" in capfd.readouterr().err
    both: Sequence[str] = (f'{{"{sample_shards / "train"}": 1, "{paired_shards}": 1}}', str(sample_shards / "val"))
    assert fit("estimator.yaml", made, made, *both) == 2
    assert "pairs of no known degradation" in capfd.readouterr().err


def test_phases_of_the_page_come_in_their_order() -> None:
    """Each road: an adapter first, then the estimator of the same bundle."""
    phases = [command.text for command in commands(PAGE) if command.text.startswith("abair-pl fit")]
    assert ["adapter" if "configs/adapter.yaml" in text else "estimator" for text in phases] == [
        *("adapter", "estimator"),
        *("adapter", "estimator", "estimator"),
    ]
    for text in phases:
        source = "src/abair_pl/weights" if "configs/adapter.yaml" in text else "runs/film/bundle"
        assert f"--model.init_from {source} --model.save_to runs/film/bundle" in text
