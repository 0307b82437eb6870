import json
from pathlib import Path

import pytest
import yaml
from tests.evaluation.ablation.fakes import FakeFits

from abair_pl.bundle import Bundle
from abair_pl.cli import main

FITS = ["pretrain", "noise", "estimator", "estimator"]


@pytest.fixture
def command(ablation_file: Path, sample_shards: Path, tmp_path: Path) -> list[str]:
    """An ablation of toy size."""
    shards = ["--train", str(sample_shards / "train"), "--val", str(sample_shards / "val")]
    measured = ["--photos", str(sample_shards / "photographs"), "--device", "cpu"]
    scale = ["--scale", str(ablation_file.with_name("scale.yaml"))]
    places = ["--config", str(ablation_file), "--output", str(tmp_path / "out")]
    return ["ablate", *places, *shards, *measured, *scale, "--seeds", "0", "3"]


def test_variants_and_seeds_give_one_table(
    command: list[str], fits: FakeFits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    assert fits.names == FITS * 2
    table = (tmp_path / "out" / "clean" / "ablation.md").read_text()
    assert table in capsys.readouterr().out
    assert "| + CutMix |" in table
    assert "over 2 seeds (0, 3). Preset tiny; steps: pretrain 2, adapter 2, estimator 2." in table
    assert "skipped: dehazing: no --data to look for SOTS in" in table
    found = json.loads((tmp_path / "out" / "clean" / "ablation.json").read_text())
    for name in ("none", "some"):
        psnr = found["variants"][name]["denoising"]["psnr"]
        means = [_mean_of(tmp_path / "out" / "clean" / f"seed-{seed}", name) for seed in (0, 3)]
        assert psnr["values"] == pytest.approx(means)
        assert psnr["mean"] == pytest.approx(sum(means) / 2)
        assert psnr["deviation"] == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    assert (tmp_path / "out" / "clean" / "seed-0" / "report.html").is_file()


def _mean_of(folder: Path, variant: str) -> float:
    lines = (folder / "records" / "rank-00000.jsonl").read_text().splitlines()
    values = [record["psnr"] for record in map(json.loads, lines) if record["method"] == variant]
    assert len(values) == 8
    return float(sum(values) / len(values))


def test_run_again_it_trains_and_measures_nothing_and_says_the_same(
    command: list[str], fits: FakeFits, tmp_path: Path
) -> None:
    assert main(command) == 0
    folder = tmp_path / "out" / "clean"
    results = [folder / "ablation.md", folder / "ablation.json"]
    files = [*results, *folder.glob("seed-*/records/*.jsonl")]
    before = [file.read_bytes() for file in files]
    for file in results:
        file.unlink()
    assert main(command) == 0
    assert fits.names == FITS * 2
    assert [file.read_bytes() for file in files] == before


def test_ablations_with_one_output_share_runs_and_keep_their_results(
    command: list[str], fits: FakeFits, ablation_file: Path, tmp_path: Path
) -> None:
    assert main(command) == 0
    other = ablation_file.with_name("other.yaml")
    values = yaml.safe_load(ablation_file.read_text())
    other.write_text(yaml.safe_dump({**values, "title": "another", "variants": {"same": {"title": "same"}}}))
    assert main([*command, "--config", str(other)]) == 0
    assert fits.names == FITS * 2
    assert (tmp_path / "out" / "clean" / "ablation.md").read_text().startswith("## clean photographs")
    assert (tmp_path / "out" / "other" / "ablation.md").read_text().startswith("## another")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml is not an ablation"),
        (["--scale", "nowhere.yaml"], "nowhere.yaml is not a scale"),
        (["--seeds", "1", "1"], "seeds are [1, 1]"),
        (["--seeds", "-1"], "seeds are [-1]"),
        (["--jobs", "0"], "jobs 0"),
        (["--preset", "tinny"], "did you mean 'tiny'?"),
        (["--photos", "nowhere"], "no image at nowhere"),
        (["--train", "nowhere.tar"], "no shard at nowhere.tar"),
        (["--device", "cuda"], "no CUDA device here"),
        (["--variants", "none", "sone"], "unknown variant 'sone'; expected one of: none, some"),
    ],
)
def test_what_is_wrong_is_one_line_before_the_first_run(
    change: list[str],
    message: str,
    command: list[str],
    fits: FakeFits,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*command, *change]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert message in errors[0]
    assert fits.names == []


def test_variants_may_be_chosen(command: list[str], fits: FakeFits, tmp_path: Path) -> None:
    assert main([*command, "--variants", "some"]) == 0
    found = json.loads((tmp_path / "out" / "clean" / "ablation.json").read_text())
    assert list(found["variants"]) == ["some"]


def test_nothing_is_trained_where_nothing_could_be_measured(
    command: list[str], fits: FakeFits, capsys: pytest.CaptureFixture[str]
) -> None:
    place = command.index("--photos")
    assert main([*command[:place], *command[place + 2 :]]) == 2
    assert "has images (denoising: no --data" in capsys.readouterr().err
    assert fits.names == []


def test_a_misspelt_option_is_one_line_before_the_first_run(
    command: list[str], fits: FakeFits, ablation_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ablation_file.read_text()
    ablation_file.write_text(text.replace("clean_probability", "clean_propability"))
    assert main(command) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert "variant none, phase estimator" in errors[0]
    assert "clean_propability" in errors[0]
    assert fits.names == []
    assert not (tmp_path / "out").exists()


def test_a_fit_that_fails_ends_it_and_what_is_there_is_kept(
    command: list[str], fits: FakeFits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fits.fails_at = "noise"
    assert main(command) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == "abair-pl: error: noise failed"
    fits.fails_at = ""
    assert main(command) == 0
    assert fits.names == ["pretrain", "noise", *FITS[1:], *FITS]


@pytest.mark.slow
def test_real_trainings_from_the_command_line(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    runs = tmp_path / "out" / "runs"
    assert len(list(runs.iterdir())) == 8, "for each seed one of phases I and II, and two of phase III"
    for bundle in runs.glob("estimator-*/bundle"):
        config = Bundle.open(bundle).config
        assert (config.preset, list(config.adapters), list(config.estimated)) == ("tiny", ["noise"], ["noise"])
        assert config.provenance["estimator"]["steps"] == 2
        assert config.provenance["estimator"]["seed"] == int(bundle.parent.name.split("-")[2])
    found = json.loads((tmp_path / "out" / "clean" / "ablation.json").read_text())
    for name in ("none", "some"):
        psnr = found["variants"][name]["denoising"]["psnr"]
        assert len(set(psnr["values"])) == 2, "seeds train other weights"
        assert psnr["deviation"] > 0
    logs = {log: log.read_bytes() for log in runs.rglob("*.log")}
    assert len(logs) == 8
    capfd.readouterr()
    assert main(command) == 0
    assert " took " not in capfd.readouterr().out
    assert {log: log.read_bytes() for log in logs} == logs
