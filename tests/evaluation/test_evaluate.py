import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from abair_pl.bundle import Bundle, save_adapter, save_estimator
from abair_pl.errors import ImageError, InputError
from abair_pl.evaluation.evaluate import evaluate
from abair_pl.evaluation.protocols import PROTOCOLS
from abair_pl.models.adapters import LoRA
from abair_pl.models.estimator import Estimator
from abair_pl.restore import Abair

COLUMNS = ["image", "degradation", "draw", "blend", "psnr_input", "ssim_input", "psnr", "ssim"]


@pytest.fixture
def run(bundle_path: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Evaluate the toy bundle on the CPU, and give back results.json."""

    def call(**options: Any) -> dict[str, Any]:
        evaluate(**{"output": tmp_path / "out", "bundle": bundle_path, "device": "cpu", **options})
        values: dict[str, Any] = json.loads((options.get("output", tmp_path / "out") / "results.json").read_text())
        return values

    return call


@pytest.fixture
def clean(photographs: Path, tmp_path: Path) -> Path:
    """A folder of two photographs."""
    folder = tmp_path / "clean"
    folder.mkdir()
    for index in (0, 5):
        shutil.copy(photographs / f"photo-{index}.png", folder)
    return folder


@pytest.fixture
def noisy(clean: Path, tmp_path: Path) -> Path:
    """The same photographs with noise."""
    folder = tmp_path / "noisy"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for path in clean.iterdir():
        pixels = np.asarray(Image.open(path)).astype(float)
        pixels += generator.normal(0.0, 20.0, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / path.name)
    return folder


def as_tensor(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255.0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pairs_are_measured_as_the_protocol_says(
    run: Callable[..., dict[str, Any]],
    clean: Path,
    noisy: Path,
    names: list[str],
    protocol: str,
    bundle_path: Path,
    tmp_path: Path,
) -> None:
    results = run(input=noisy, target=clean, protocol=protocol, blend=["haze"])
    assert results["protocol"]["name"] == protocol
    assert {"channel", "ssim_window", "rounding", "border_px", "average", "version"} <= results["protocol"].keys()
    rows = results["images"]
    assert [row["image"] for row in rows] == ["photo-0", "photo-5"]
    assert all(list(row) == [*COLUMNS, *(f"weight_{name}" for name in names)] for row in rows)
    for row in rows:
        pair = [as_tensor(folder / f"{row['image']}.png") for folder in (noisy, clean)]
        before = PROTOCOLS[protocol].measure(*pair)
        restored = Abair.from_pretrained(bundle_path, "cpu").restore(pair[0], "haze").restored
        after = PROTOCOLS[protocol].measure(restored, pair[1])
        assert [row["psnr_input"], row["ssim_input"]] == pytest.approx(before)
        assert [row["psnr"], row["ssim"]] == pytest.approx(after)
        assert [row[f"weight_{name}"] for name in names] == [0.0, 1.0, 0.0, 0.0, 0.0]
    for key in ("psnr_input", "ssim_input", "psnr", "ssim"):
        assert results["mean"][key] == pytest.approx((rows[0][key] + rows[1][key]) / 2)
    with (tmp_path / "out" / "results.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [list(row) for row in table] == [list(row) for row in rows]
    assert [float(row["psnr"]) for row in table] == pytest.approx([row["psnr"] for row in rows])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["results.csv", "results.json"]


def test_soft_weights_are_those_of_the_estimator(
    run: Callable[..., dict[str, Any]], clean: Path, noisy: Path, bundle_path: Path
) -> None:
    (row, _) = run(input=noisy, target=clean)["images"]
    assert row["blend"] == "soft"
    expected = Abair.from_pretrained(bundle_path, "cpu").restore(as_tensor(noisy / "photo-0.png")).weights
    assert {name: row[f"weight_{name}"] for name in expected} == pytest.approx(expected)


def test_clean_photographs_are_degraded_in_each_way(
    run: Callable[..., dict[str, Any]], clean: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    specs, sheet = ["noise:sigma=25", "rain:severity=0.8"], tmp_path / "sheets" / "sheet.png"
    results = run(clean=clean, degrade=specs, draws=2, seed=3, blend=["none", "oracle"], sheet=sheet)
    rows = results["images"]
    assert len(rows) == 2 * 2 * 2 * 2
    assert {(row["degradation"], row["blend"]) for row in rows} == {(s, b) for s in specs for b in ("none", "oracle")}
    assert results["protocol"]["degrade"] == specs
    assert results["protocol"]["seed"] == 3
    for row in rows:
        weights = {key.removeprefix("weight_"): value for key, value in row.items() if key.startswith("weight_")}
        chosen = {row["degradation"].partition(":")[0]} if row["blend"] == "oracle" else set()
        assert {name for name, weight in weights.items() if weight} == chosen
    mine = [row["psnr"] for row in rows if (row["degradation"], row["blend"]) == (specs[0], "oracle")]
    assert results["mean_by"][specs[0]]["oracle"]["psnr"] == pytest.approx(sum(mine) / 4)
    assert len({row["psnr_input"] for row in rows if row["degradation"] == specs[0]}) == 4, "draws should differ"
    table = capsys.readouterr().out
    assert "| mean" in table
    assert "oracle" in table
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > 4 * 300


def test_noise_has_the_strength_that_was_asked_for(run: Callable[..., dict[str, Any]], clean: Path) -> None:
    rows = run(clean=clean, degrade=["noise:sigma=25"], blend=["none"])["images"]
    assert [row["psnr_input"] for row in rows] == pytest.approx([20.17 + 0.5] * 2, abs=0.7)  # clipping takes some off


def test_composites_are_measured_as_one_degradation(run: Callable[..., dict[str, Any]], clean: Path) -> None:
    """Blur takes off what noise puts on, and adds an error of its own; the order shows."""
    specs = ["noise:sigma=25>blur:radius=4", "blur:radius=4+noise:sigma=25", "noise:sigma=25"]
    rows = run(clean=clean, degrade=specs, blend=["none"])["images"]
    assert [row["degradation"] for row in rows] == [spec for spec in specs for _ in range(2)]
    psnr = {spec: sum(row["psnr_input"] for row in rows if row["degradation"] == spec) / 2 for spec in specs}
    assert psnr[specs[1]] < psnr[specs[2]] < psnr[specs[0]]


def test_the_seed_decides_the_numbers(run: Callable[..., dict[str, Any]], clean: Path, tmp_path: Path) -> None:
    runs = [
        run(clean=clean, degrade=["noise:sigma=25"], blend=["none"], seed=seed, output=tmp_path / str(index))
        for index, seed in enumerate((1, 1, 2))
    ]
    assert runs[0] == runs[1]
    assert runs[0]["images"][0]["psnr_input"] != runs[2]["images"][0]["psnr_input"]


def test_a_photograph_is_degraded_alike_in_any_company(
    run: Callable[..., dict[str, Any]], clean: Path, tmp_path: Path
) -> None:
    together = run(clean=clean, degrade=["noise:sigma=25"], blend=["none"])["images"][1]
    (clean / "photo-0.png").unlink()
    assert run(clean=clean, degrade=["noise:sigma=25"], blend=["none"])["images"] == [together]


def test_the_estimator_is_scored_on_crops(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    Image.effect_noise((390, 260), 60).convert("RGB").save(tmp_path / "large" / "noise.png")
    found = run(clean=tmp_path / "large", degrade=["noise:sigma=25", "haze"], blend=["none"])["estimator"]
    assert found["crops"] == 4
    assert found["crop_px"] == 256
    assert found["accuracy"] in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_images_too_small_for_a_crop_are_not_scored(run: Callable[..., dict[str, Any]], clean: Path) -> None:
    assert "estimator" not in run(clean=clean, degrade=["noise"], blend=["none"])


def test_an_output_that_is_a_file_is_refused_before_the_work(
    run: Callable[..., dict[str, Any]], clean: Path, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(InputError, match=f"{tmp_path / 'out'} cannot be a folder of results"):
        run(input=noisy, target=clean)
    assert "1/2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["input"],
        ["target"],
        ["clean"],
        ["degrade"],
        ["input", "target", "clean"],
        ["input", "target", "degrade"],
        ["input", "clean", "degrade"],
        ["input", "target", "clean", "degrade"],
    ],
    ids="+".join,
)
def test_options_that_do_not_fit_together_are_refused(
    run: Callable[..., dict[str, Any]], options: list[str], clean: Path, noisy: Path
) -> None:
    values = {"input": noisy, "target": clean, "clean": clean, "degrade": ["noise"]}
    with pytest.raises(InputError, match="either --input and --target, or --clean and --degrade"):
        run(**{name: values[name] for name in options})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "lab"}, "unknown protocol 'lab'; expected one of: rgb, y"),
        ({"blend": ["sofd"]}, "unknown blend 'sofd'.*oracle.*rain.*did you mean 'soft'"),
        ({"blend": ["soft", "none", "soft"]}, "blend is soft none soft; expected each once"),
        ({"tile_px": 256, "overlap_px": 128}, "overlap is 128 px and tile 256 px; expected"),
        ({"degrade": ["sleet"]}, "unknown degradation 'sleet'"),
        ({"degrade": ["blur+noise>jpeg"]}, "joins by"),
        ({"degrade": ["noise:sigma=much"]}, "sigma=much"),
        ({"passes": 0}, "passes is 0; expected 1 or more"),
        ({"draws": 0}, "draws is 0; expected at least 1"),
        ({"seed": -1}, "seed is -1; expected at least 0 and less than"),
        ({"seed": 2**63}, f"seed is {2**63}; expected at least 0 and less than"),
        ({"degrade": ["noise", "rain", "noise"]}, "degrade is noise rain noise; expected each once"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_values_are_named(
    run: Callable[..., dict[str, Any]], clean: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(**{"clean": clean, "degrade": ["noise"], **change})


def test_passes_are_those_of_restore(
    run: Callable[..., dict[str, Any]], clean: Path, noisy: Path, layered: Path
) -> None:
    options: dict[str, Any] = {"input": noisy, "target": clean, "blend": ["soft", "one_hot", "none"], "bundle": layered}
    once, often = (run(**options, passes=passes) for passes in (1, 2))
    assert (once["passes"], often["passes"]) == (1, 2)
    model = Abair.from_pretrained(layered, device="cpu")
    for found, passes in ((once, 1), (often, 2)):
        for row in found["images"]:
            stem = row["image"]
            most = 1 if row["blend"] == "none" else passes
            assert row.get("passes", 1) == most
            restored = model.restore(Image.open(noisy / f"{stem}.png"), row["blend"], passes=most).restored
            error = (restored - as_tensor(clean / f"{stem}.png")).square().mean()
            assert row["psnr"] == pytest.approx(-10.0 * error.log10().item(), abs=0.1)
    assert once["mean"]["psnr"] != often["mean"]["psnr"]


def test_oracle_needs_an_adapter_of_the_degradation(
    run: Callable[..., dict[str, Any]],
    backbone_path: Path,
    clean: Path,
    noisy: Path,
    make_adapter: Callable[..., Any],
    tmp_path: Path,
) -> None:
    base = Bundle.open(backbone_path)
    save_adapter(tmp_path / "rain", base, "rain", make_adapter(base, "rain"), LoRA(), {})
    with pytest.raises(InputError, match="oracle needs an adapter named as the degradation 'noise'; there are: rain"):
        run(bundle=tmp_path / "rain", clean=clean, degrade=["noise"], blend=["oracle"])
    with pytest.raises(InputError, match="oracle knows no degradation of real pairs; expected --clean and --degrade"):
        run(input=noisy, target=clean, blend=["none", "oracle"], output=tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists(), "refused before any work"


def test_an_estimator_of_other_adapters_does_not_stop_a_fixed_blend(
    run: Callable[..., dict[str, Any]], bundle_copy: Path, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    """After phase II has added an adapter it can be measured before phase III is run again."""
    bundle = Bundle.open(bundle_copy)
    save_adapter(bundle_copy, bundle, "snow", make_adapter(bundle, "snow"), LoRA(), {})
    (tmp_path / "large").mkdir()
    Image.effect_noise((130, 130), 60).convert("RGB").save(tmp_path / "large" / "noise.png")
    results = run(bundle=bundle_copy, clean=tmp_path / "large", degrade=["noise"], blend=["oracle"])
    assert "estimator" not in results


def test_an_estimator_of_an_exchanged_adapter_is_not_scored(
    run: Callable[..., dict[str, Any]], bundle_copy: Path, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    bundle = Bundle.open(bundle_copy)
    save_adapter(bundle_copy, bundle, "noise", make_adapter(bundle, "noise", LoRA(rank=2), 9), LoRA(rank=2), {})
    (tmp_path / "large").mkdir()
    Image.effect_noise((260, 260), 60).convert("RGB").save(tmp_path / "large" / "noise.png")
    assert "estimator" not in run(bundle=bundle_copy, clean=tmp_path / "large", degrade=["noise"], blend=["none"])


def test_pairs_without_partner_are_refused(run: Callable[..., dict[str, Any]], clean: Path, noisy: Path) -> None:
    (noisy / "photo-5.png").unlink()
    with pytest.raises(InputError, match="1 images have no partner of the same stem, such as 'photo-5'"):
        run(input=noisy, target=clean)


def test_two_files_of_one_stem_are_refused(run: Callable[..., dict[str, Any]], clean: Path, noisy: Path) -> None:
    Image.open(noisy / "photo-0.png").save(noisy / "photo-0.jpg")
    with pytest.raises(InputError, match="photo-0"):
        run(input=noisy, target=clean)


def test_pairs_of_unlike_sizes_are_refused(run: Callable[..., dict[str, Any]], clean: Path, noisy: Path) -> None:
    Image.new("RGB", (64, 64)).save(noisy / "photo-5.png")
    with pytest.raises(ImageError, match="expected the same"):
        run(input=noisy, target=clean)


def test_depth_beside_a_photograph_is_used_and_no_photograph(bundle_path: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    Image.fromarray(np.full((32, 40, 3), 30, dtype=np.uint8)).save(clean / "a.png")
    options: dict[str, Any] = {"bundle": bundle_path, "clean": clean, "degrade": ["haze:severity=1"], "blend": ["none"]}
    inputs = []
    for value in (0, 255):
        Image.fromarray(np.full((32, 40), value, dtype=np.uint8)).save(clean / "a.depth.png")
        evaluate(tmp_path / str(value), **options)
        rows = json.loads((tmp_path / str(value) / "results.json").read_text())["images"]
        assert [row["image"] for row in rows] == ["a"]
        inputs.append(rows[0]["psnr_input"])
    assert inputs[0] > 50 > 20 > inputs[1]  # nothing lies in front of what is near
    Image.fromarray(np.zeros((32, 41), dtype=np.uint8)).save(clean / "a.depth.png")
    with pytest.raises(ImageError, match="expected the same"):
        evaluate(tmp_path / "wrong", **options)


def test_pairs_of_unequal_size_are_named(bundle_path: Path, tmp_path: Path) -> None:
    for role, width in (("input", 40), ("target", 41)):
        (tmp_path / role).mkdir()
        Image.fromarray(np.zeros((32, width, 3), dtype=np.uint8)).save(tmp_path / role / "a.png")
    with pytest.raises(ImageError, match=r"input/a.png 40 x 32 and .*target/a.png 41 x 32 pixels; expected the same"):
        evaluate(tmp_path / "out", bundle=bundle_path, input=tmp_path / "input", target=tmp_path / "target")


def test_tiles_and_their_overlap_are_those_asked_for(
    run: Callable[..., dict[str, Any]], clean: Path, noisy: Path, bundle_path: Path
) -> None:
    results = run(input=noisy, target=clean, blend=["haze"], tile_px=32, overlap_px=8)["images"]
    model = Abair.from_pretrained(bundle_path, "cpu", 32, 8)
    for row in results:
        pair = [as_tensor(folder / f"{row['image']}.png") for folder in (noisy, clean)]
        after = PROTOCOLS["rgb"].measure(model.restore(pair[0], "haze").restored, pair[1])
        assert [row["psnr"], row["ssim"]] == pytest.approx(after)


def test_damage_unlike_any_adapter_is_told_of_every_blend_that_asks(
    run: Callable[..., dict[str, Any]], bundle_copy: Path, make_adapter: Callable[..., Any], clean: Path, noisy: Path
) -> None:
    """That by pixel does, whether the segmentation head has labels for all adapters or not."""
    blends = ["soft", "one_hot", "pixel", "average", "none", "rain"]
    known = run(bundle=bundle_copy, input=noisy, target=clean, blend=blends)["images"]
    assert [row["blend"] for row in known if "unknown" in row] == ["soft", "one_hot", "pixel"] * 2
    bundle = Bundle.open(bundle_copy)
    bundle = save_adapter(bundle_copy, bundle, "snow", make_adapter(bundle, "snow"), LoRA(), {})
    torch.manual_seed(0)
    save_estimator(bundle_copy, bundle, Estimator(bundle.config.architecture.estimator_dim, 7), {})
    file = bundle_copy / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "calibration": {"temperature": 2.0, "threshold": 1e6}}))
    results = run(bundle=bundle_copy, input=noisy, target=clean, blend=["pixel"])
    assert [row["unknown"] for row in results["images"]] == [True, True]
    assert results["mean"]["unknown"] == 1.0
