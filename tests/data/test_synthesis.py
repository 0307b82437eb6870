import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor

from abair_pl.batch import PhotoBatch
from abair_pl.cli import main
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.synthesis import Synthesis, SynthesisConfig
from abair_pl.degradations import Composite, RandomDefocus, RandomGaussianNoise, RandomHaze, Synthesizer
from abair_pl.degradations.jpeg_codec import jpeg_round_trip
from abair_pl.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"
OWN = '''
import torch
from abair_pl.degradations import Degradation, Range
from abair_pl.degradations.base import per_image, within

class RandomScratches(Degradation):
    """White upright lines.

    Args:
        severity: Range of the severity.
        width_px: Width at severity 0 and 1.
    """

    name = "scratches"
    draws = ("column",)

    def __init__(self, severity: Range = (0.0, 1.0), width_px: Range = (1.0, 4.0)) -> None:
        super().__init__(severity)
        self.width_px = width_px

    def physical(self, severity, draws):
        return {"width_px": within(self.width_px, severity), "column": draws["column"]}

    def degrade(self, image, parameters):
        column = per_image(parameters["column"]) * image.shape[-1]
        x = torch.arange(image.shape[-1], device=image.device)
        return torch.where((x - column).abs() <= per_image(parameters["width_px"]) / 2 + 0.5, 1.0, image)
'''


@pytest.fixture
def photos() -> PhotoBatch:
    """Eight photographs of 24 x 32 pixels."""
    pixels = torch.randint(40, 200, (8, 3, 24, 32), generator=torch.Generator().manual_seed(1)).byte()
    keys = tuple(f"p{index}" for index in range(8))
    valid = torch.tensor([True] * 7 + [False])
    return PhotoBatch(pixels, None, keys, torch.arange(8) * 31, valid)


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The class path of a degradation in a package of the user's own."""
    folder = tmp_path / "own" / "synthesis_own_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.delitem(sys.modules, "synthesis_own_package", raising=False)
    return "synthesis_own_package.RandomScratches"


def _severities(synthesis: Synthesis, photos: PhotoBatch, step: int) -> Tensor:
    plan = synthesis.synthesizer.plan(photos.seeds.repeat(60) + torch.arange(480), dial=synthesis.config.dial(step))
    return torch.cat([entry.parameters["severity"] for entry in plan.steps])


class TestDial:
    @pytest.mark.parametrize(
        ("step", "reach"), [(0, 0.3), (25, 0.475), (50, 0.65), (100, 1.0), (101, 1.0), (10**9, 1.0)]
    )
    def test_the_upper_end_rises_from_three_tenths(self, step: int, reach: float) -> None:
        assert SynthesisConfig(severity_steps=100).dial(step) == pytest.approx((0.0, reach))
        low, high = SynthesisConfig(severity=(0.2, 0.7), severity_steps=100).dial(step)
        assert (low, high) == pytest.approx((0.2, 0.2 + 0.5 * reach))

    def test_without_steps_it_is_where_it_will_be(self) -> None:
        assert SynthesisConfig(severity=(0.2, 0.7)).dial(0) == pytest.approx((0.2, 0.7))

    def test_what_is_drawn_follows_the_training_step(self, photos: PhotoBatch) -> None:
        synthesis = Synthesis(SynthesisConfig(severity_steps=10), ["noise", "haze"])
        highest = [float(_severities(synthesis, photos, step).max()) for step in (0, 5, 10)]
        assert highest == pytest.approx([0.3, 0.65, 1.0], abs=0.02)
        first, last = (synthesis.training(photos, step) for step in (0, 10))
        error = [(batch.degraded - batch.clean).abs().mean() for batch in (first, last)]
        assert error[1] > 1.5 * error[0]

    def test_evaluation_knows_no_curriculum(self, photos: PhotoBatch) -> None:
        plain, slow = (Synthesis(SynthesisConfig(severity_steps=n), ["noise"]) for n in (0, 1000))
        assert torch.equal(plain.evaluation(photos).degraded, slow.evaluation(photos).degraded)

    @pytest.mark.parametrize(
        "settings",
        [
            {"severity": (-0.1, 1.0)},
            {"severity": (0.0, 1.1)},
            {"severity": (0.7, 0.2)},
            {"severity": (float("nan"), 1.0)},
            {"severity_steps": -1},
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=r"^severity is .* with severity_steps .*; expected 0 <= low <= high <= 1"):
            SynthesisConfig(**settings)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"file_probability": 1.5}, r"^file_probability is 1.5; expected a share"),
            ({"file_quality": (0.0, 90.0)}, r"^file_quality is \(0.0, 90.0\); expected both ends within \[1, 100\]"),
        ],
    )
    def test_files_that_cannot_be_are_refused(self, settings: dict[str, Any], said: str) -> None:
        with pytest.raises(InputError, match=said):
            SynthesisConfig(**settings)


class TestOperators:
    def test_a_text_replaces_the_built_in_of_its_name(self, photos: PhotoBatch) -> None:
        synthesis = Synthesis(SynthesisConfig(operators=["noise:sigma=0"]), ["haze", "noise"])
        (noise,) = synthesis.synthesizer.members[1].operators
        assert isinstance(noise, RandomGaussianNoise)
        batch = synthesis.evaluation(photos)
        assert not torch.equal(batch.degraded[:8], batch.clean[:8])
        assert torch.equal(batch.degraded[8:], batch.clean[8:])

    def test_an_object_does_too(self) -> None:
        quiet = RandomGaussianNoise(sigma_8bit=(1.0, 1.0))
        synthesis = Synthesis(SynthesisConfig(operators=[quiet]), ["haze", "noise"])
        assert synthesis.synthesizer.members[1] is quiet

    def test_one_that_no_module_asks_for_is_not_used(self, photos: PhotoBatch) -> None:
        synthesis = Synthesis(SynthesisConfig(operators=["noise:sigma=0", "blur:radius=0"]), ["haze"])
        assert synthesis.synthesizer.names == ["haze"]

    def test_a_path_to_a_class_is_one_too(self, own_package: str, photos: PhotoBatch) -> None:
        synthesis = Synthesis(SynthesisConfig(operators=[f"{own_package}:severity=1"]), ["scratches"])
        batch = synthesis.training(photos, 0)
        assert (batch.degraded == 1.0).all(dim=1).all(dim=1).any(dim=1).all()

    def test_degradations_of_one_kind_are_drawn_independently(self, photos: PhotoBatch) -> None:
        alike = [type(f"{name}Noise", (RandomGaussianNoise,), {"name": name})() for name in ("ab", "cd")]
        first, second = Synthesis(SynthesisConfig(operators=alike), ["ab", "cd"]).evaluation(photos).degraded.chunk(2)
        assert not torch.equal(first, second)

    @pytest.mark.parametrize(
        ("settings", "names", "said"),
        [
            ({}, ["rain", "sleet"], "unknown degradation 'sleet'"),
            ({"operators": ["sleet"]}, ["rain"], "unknown degradation 'sleet'"),
            ({"operators": ["noise:sigm=3"]}, ["rain"], "unknown setting"),
            ({"composites": ["rain+sleet"]}, ["rain"], "unknown degradation 'sleet'"),
            ({"composites": ["rain"]}, ["rain"], "composite 'rain' is a single degradation"),
            ({"composite_probability": 0.5}, ["rain"], "composite_probability is 0.5 without composites"),
            ({"cutmix_probability": 1.5}, ["rain"], "cutmix_probability is 1.5"),
            ({"clean_probability": -1.0}, ["rain"], "clean_probability is -1.0"),
            ({"frequencies": {"sleet": 2.0}}, ["rain"], "unknown degradation with a frequency 'sleet'"),
            ({"smooth_probability": 3.0}, ["rain"], "smooth_probability is 3.0"),
            ({"cutmix_regions": (1, 9)}, ["rain"], "cutmix_regions is"),
            ({}, [], "expected at least one"),
        ],
    )
    def test_what_cannot_be_made_is_refused(self, settings: dict[str, Any], names: list[str], said: str) -> None:
        with pytest.raises(InputError, match=said):
            _ = Synthesis(SynthesisConfig(**settings), names).synthesizer


class TestTraining:
    def test_it_is_the_synthesizers_by_each_samples_seed(self, photos: PhotoBatch) -> None:
        config = SynthesisConfig(cutmix_probability=0.5, clean_probability=0.2, smooth_probability=1.0)
        synthesis = Synthesis(config, ["rain", "noise", "blur"])
        batch = synthesis.training(photos, 0)
        synthesizer = Synthesizer(
            synthesis.synthesizer.members,
            cutmix_probability=0.5,
            clean_probability=0.2,
            smooth_probability=1.0,
        )
        expected = synthesizer(photos.clean / 255, synthesizer.plan(photos.seeds))
        assert torch.equal(batch.clean, photos.clean / 255)
        assert torch.equal(batch.degraded, expected.degraded)
        assert torch.equal(batch.labels, expected.labels)
        assert torch.equal(batch.shares, expected.shares)
        assert batch.keys == photos.keys
        assert torch.equal(batch.valid, photos.valid)

    def test_some_images_are_stored_as_files_and_keep_their_labels(self, photos: PhotoBatch) -> None:
        config = SynthesisConfig(clean_probability=0.5, file_probability=0.5, file_quality=(80.0, 80.0))
        plain = Synthesis(replace(config, file_probability=0.0), ["noise"]).training(photos, 0)
        some = Synthesis(config, ["noise"]).training(photos, 0)
        stored = (some.degraded != plain.degraded).flatten(1).any(dim=1)
        assert 0 < int(stored.sum()) < len(stored)
        expected = jpeg_round_trip(plain.degraded[stored], torch.full((int(stored.sum()),), 80.0))
        assert torch.equal(some.degraded[stored], expected)
        assert (stored & (plain.labels[:, 0, 0] == 0)).any(), "clean ones among them"
        assert torch.equal(some.labels, plain.labels)
        assert torch.equal(some.shares, plain.shares)
        assert torch.equal(some.clean, plain.clean)

    def test_which_are_stored_depends_on_the_samples_seed_alone(self, photos: PhotoBatch) -> None:
        synthesis = Synthesis(SynthesisConfig(file_probability=0.5), ["noise"])
        whole = synthesis.training(photos, 0).degraded
        part = replace(
            photos, clean=photos.clean[3:], keys=photos.keys[3:], seeds=photos.seeds[3:], valid=photos.valid[3:]
        )
        assert torch.equal(synthesis.training(part, 0).degraded, whole[3:])

    def test_composites_without_all_their_members_are_left_out_and_named(self, photos: PhotoBatch) -> None:
        composites = ["rain+haze", "blur+noise", "rain+noise"]
        config = SynthesisConfig(["snow:severity=1"], composites, composite_probability=1.0)
        some = Synthesis(config, ["rain", "noise"])
        assert some.synthesizer.sources == ["clean", "rain", "noise", "rain+noise"]
        assert some.left_out == ["snow", "rain+haze", "blur+noise"]
        none = Synthesis(config, ["haze"])
        assert none.training(photos, step=0).labels.unique().tolist() == [1]

    def test_composites_are_made_of_the_modules_own(self, photos: PhotoBatch) -> None:
        blur = RandomDefocus(radius_px=(3.0, 3.0))
        config = SynthesisConfig(operators=[blur], composites=["noise+blur"], composite_probability=1.0)
        synthesis = Synthesis(config, ["noise", "haze", "blur"])
        (composite,) = [member for member in synthesis.synthesizer.members if isinstance(member, Composite)]
        assert composite.members[0] is blur
        batch = synthesis.training(photos, 0)
        assert batch.shares.tolist() == [[0.0, 1.0, 0.0, 1.0]] * 8
        assert set(batch.labels.unique().tolist()) <= {1, 3}

    def test_depth_reaches_haze(self, photos: PhotoBatch) -> None:
        synthesis = Synthesis(SynthesisConfig(operators=[RandomHaze()]), ["haze"])
        depth = torch.zeros(8, 1, 24, 32)
        depth[1::2] = torch.nan
        without, given = (synthesis.training(batch, 0) for batch in (photos, replace(photos, depth=depth)))
        assert torch.allclose(given.degraded[::2], given.clean[::2], atol=1e-6)
        assert torch.equal(given.degraded[1::2], without.degraded[1::2])
        again = synthesis.evaluation(replace(photos, depth=depth))
        assert torch.allclose(again.degraded[::2], again.clean[::2], atol=1e-6)

    def test_photographs_are_not_changed(self, photos: PhotoBatch) -> None:
        before = photos.clean.clone()
        Synthesis(SynthesisConfig(cutmix_probability=0.5), ["rain", "noise"]).training(photos, 0)
        assert torch.equal(photos.clean, before)


class TestEvaluation:
    def test_every_photograph_is_shown_with_every_degradation(self, photos: PhotoBatch) -> None:
        batch = Synthesis(SynthesisConfig(cutmix_probability=1.0), ["rain", "haze", "noise"]).evaluation(photos)
        assert batch.clean.shape == batch.degraded.shape == (24, 3, 24, 32)
        assert batch.keys == photos.keys * 3
        assert torch.equal(batch.valid, photos.valid.repeat(3))
        for row in range(24):
            assert batch.labels[row].unique().tolist() == [1 + row // 8]
            assert batch.shares[row].tolist() == torch.eye(4)[1 + row // 8].tolist()
            assert torch.equal(batch.clean[row], photos.clean[row % 8] / 255)
            assert not torch.equal(batch.clean[row], batch.degraded[row])

    def test_a_degradation_looks_the_same_whatever_others_there_are(self, photos: PhotoBatch) -> None:
        one, two = (Synthesis(SynthesisConfig(), names) for names in (["noise"], ["haze", "noise"]))
        assert torch.equal(one.evaluation(photos).degraded, two.evaluation(photos).degraded[8:])


def _paired(photos: PhotoBatch, damages: Sequence[str | None]) -> PhotoBatch:
    """The photographs, some of which are the targets of pairs whose inputs are their negatives."""
    rows = torch.tensor([damage is not None for damage in damages]).view(-1, 1, 1, 1)
    return replace(photos, degraded=torch.where(rows, 255 - photos.clean, photos.clean), damages=tuple(damages))


class TestPairs:
    @pytest.mark.parametrize("stage", ["training", "evaluation"])
    @pytest.mark.parametrize("damage", ["", "rain"])
    def test_they_are_passed_on_with_the_only_label(self, photos: PhotoBatch, stage: str, damage: str) -> None:
        pairs = _paired(photos, [damage] * 8)
        synthesis = Synthesis(SynthesisConfig(), ["a name of their own"])
        batch = synthesis.training(pairs, 0) if stage == "training" else synthesis.evaluation(pairs)
        assert torch.equal(batch.degraded, (255 - photos.clean) / 255)
        assert torch.equal(batch.clean, photos.clean / 255)
        assert (batch.labels == 1).all()
        assert batch.labels.shape == (8, 24, 32)
        assert batch.shares.tolist() == [[0.0, 1.0]] * 8

    @pytest.mark.parametrize("stage", ["training", "evaluation"])
    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            ("", "pairs do not say what they show; expected a phase that trains on a single degradation, or pairs"),
            ("sleet", "unknown degradation of pairs 'sleet'"),
        ],
    )
    def test_of_several_degradations_they_have_to_show_one(
        self, photos: PhotoBatch, stage: str, damage: str, said: str
    ) -> None:
        pairs, synthesis = _paired(photos, [damage] * 8), Synthesis(SynthesisConfig(), ["rain", "haze"])
        with pytest.raises(InputError, match=said):
            _ = synthesis.training(pairs, 0) if stage == "training" else synthesis.evaluation(pairs)

    def test_photographs_between_them_are_degraded_and_come_first(self, photos: PhotoBatch) -> None:
        """In the labels of all degradations, of which nothing makes the first."""
        names = ["sleet", "rain", "noise"]
        mixed = _paired(photos, [None, "sleet", None, "noise", *[None] * 4])
        batch = Synthesis(SynthesisConfig(clean_probability=0.5), names, ["sleet", "noise"]).training(mixed, 0)
        alone = Synthesis(SynthesisConfig(clean_probability=0.5), names[1:]).training(photos, 0)
        rows = [0, 2, 4, 5, 6, 7]
        assert batch.keys == tuple(f"p{row}" for row in (*rows, 1, 3))
        assert torch.equal(batch.degraded[:6], alone.degraded[rows])
        assert torch.equal(batch.degraded[6:], (255 - photos.clean[[1, 3]]) / 255)
        assert torch.equal(batch.clean, photos.clean[[*rows, 1, 3]] / 255)
        assert torch.equal(batch.valid, photos.valid[[*rows, 1, 3]])
        found = alone.labels[rows]
        assert {0, 1, 2} == {*found.unique().tolist()}
        assert torch.equal(batch.labels[:6], torch.where(found > 0, found + 1, 0))
        assert batch.labels[6:, 0, 0].tolist() == [1, 3]
        assert torch.equal(batch.shares[:6][:, [0, 2, 3]], alone.shares[rows])
        assert not batch.shares[:6, 1].any()
        assert batch.shares[6:].tolist() == [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]

    def test_photographs_between_them_are_measured_in_every_way_that_there_is(self, photos: PhotoBatch) -> None:
        names = ["rain", "sleet", "noise"]
        mixed = _paired(photos, [None, "sleet", *[None] * 6])
        batch = Synthesis(SynthesisConfig(), names, ["sleet"]).evaluation(mixed)
        assert batch.labels[:, 0, 0].tolist() == [1] * 7 + [3] * 7 + [2]
        assert batch.keys[-1] == "p1"
        rows = [0, *range(2, 8)]
        expected = Synthesis(SynthesisConfig(), ["noise"]).evaluation(photos).degraded[rows]
        assert torch.equal(batch.degraded[7:14], expected)

    def test_what_they_show_is_made_too_if_there_is_an_operator(self, photos: PhotoBatch, own_package: str) -> None:
        own = SynthesisConfig(operators=[own_package])
        made = Synthesis(own, ["scratches", "sleet", "rain"], ["scratches", "sleet", "rain"]).synthesizer
        assert made.names == ["scratches", "rain"]
        with pytest.raises(InputError, match="unknown degradation 'sleet'"):
            _ = Synthesis(own, ["sleet"], ["sleet"]).synthesizer

    def test_depth_stays_with_its_photograph(self, photos: PhotoBatch) -> None:
        depth = torch.zeros(8, 1, 24, 32)
        depth[0] = torch.nan
        mixed = replace(_paired(photos, ["sleet", *[None] * 7]), depth=depth)
        batch = Synthesis(SynthesisConfig(operators=[RandomHaze()]), ["haze", "sleet"], ["sleet"]).training(mixed, 0)
        assert torch.allclose(batch.degraded[:7], batch.clean[:7], atol=1e-6)


class TestPrediction:
    def test_photographs_stay_as_they_are(self, photos: PhotoBatch) -> None:
        batch = Synthesis(SynthesisConfig(), ["rain", "haze"]).untouched(photos)
        assert torch.equal(batch.degraded, photos.clean / 255)
        assert torch.equal(batch.clean, photos.clean / 255)
        assert not batch.labels.any()
        assert batch.shares.tolist() == [[1.0, 0.0, 0.0]] * 8

    def test_pairs_give_their_degraded_images(self, photos: PhotoBatch) -> None:
        mixed = _paired(photos, ["rain", None, "haze", *[None] * 5])
        batch = Synthesis(SynthesisConfig(), ["rain", "haze"]).untouched(mixed)
        expected = photos.clean.clone()
        expected[[0, 2]] = 255 - expected[[0, 2]]
        assert torch.equal(batch.degraded, expected / 255)
        assert not batch.labels.any()


def _parsed(tmp_path: Path, synthesis: dict[str, Any]) -> SynthesisConfig:
    """What a YAML file makes of the settings, as the command line reads it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(RestorationDataModule, "data")
    parser.add_argument("--config", action="config")
    settings = {"train": "a", "val": "b", "synthesis": synthesis}
    path = f"{RestorationDataModule.__module__}.RestorationDataModule"
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data": {"class_path": path, "init_args": settings}}))
    made: SynthesisConfig = parser.instantiate_classes(parser.parse_args(["--config", str(file)])).data.synthesis
    return made


def test_yaml_names_operators_by_text_and_by_class(tmp_path: Path, own_package: str) -> None:
    own = {"class_path": own_package, "init_args": {"severity": [0.5, 1.0], "width_px": [2.0, 3.0]}}
    config = _parsed(
        tmp_path,
        {
            "operators": ["noise:sigma=25", own],
            "composites": ["blur+noise"],
            "severity": [0.1, 0.9],
            "severity_steps": 7,
        },
    )
    text, scratches = config.operators
    assert text == "noise:sigma=25"
    assert type(scratches).__name__ == "RandomScratches"
    assert scratches.severity == (0.5, 1.0)  # type: ignore[union-attr]
    assert scratches.width_px == (2.0, 3.0)  # type: ignore[union-attr]
    assert config == replace(config, composites=["blur+noise"], severity=(0.1, 0.9), severity_steps=7)
    synthesizer = Synthesis(config, ["scratches", "noise", "blur"]).synthesizer
    assert synthesizer.sources == ["clean", "scratches", "noise", "blur", "blur+noise"]
    assert synthesizer.members[0] is scratches


@pytest.fixture
def trained(own_package: str, sample_shards: Path, tmp_path: Path) -> list[str]:
    """A trial of phase I on rain and on a degradation that another package has, described in YAML alone."""
    config = {
        "model": {
            "class_path": "abair_pl.modules.pretrain.PretrainModule",
            "init_args": {
                "preset": "tiny",
                "degradations": ["rain", "scratches"],
                "save_to": str(tmp_path / "bundle"),
            },
        },
        "data": {
            "class_path": "abair_pl.data.datamodule.RestorationDataModule",
            "init_args": {
                "train": str(sample_shards / "train"),
                "val": str(sample_shards / "val"),
                "workers": 0,
                "batch_size": 2,
                "patch_px": 32,
                "val_patch_px": 32,
                "synthesis": {
                    "operators": [{"class_path": own_package, "init_args": {"width_px": [3.0, 6.0]}}],
                    "composites": ["rain+scratches"],
                    "composite_probability": 0.5,
                },
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "fast_dev_run": True,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
    }
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(config))
    return ["--config", str(file)]


def test_a_degradation_from_another_package_is_trained(trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules.get("synthesis_own_package")
    assert module is None, "the command line is to import it"
    used: list[int] = []
    original = Synthesis.training

    def training(self: Synthesis, batch: PhotoBatch, step: int) -> Any:
        made = original(self, batch, step)
        used.extend(made.labels.unique().tolist())
        assert self.synthesizer.sources == ["clean", "rain", "scratches", "rain+scratches"]
        return made

    monkeypatch.setattr(Synthesis, "training", training)
    assert main(["fit", *trained]) == 0
    assert set(used) <= {1, 2}
    assert used


def test_the_configuration_that_a_run_saves_can_be_run_again(trained: list[str], tmp_path: Path) -> None:
    folder = ["--trainer.default_root_dir", str(tmp_path / "run")]
    steps = ["--trainer.fast_dev_run", "false", "--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]
    assert main(["fit", *trained, *folder, *steps]) == 0
    (saved,) = (tmp_path / "run").rglob("config.yaml")
    (operator,) = yaml.safe_load(saved.read_text())["data"]["init_args"]["synthesis"]["operators"]
    assert operator["class_path"] == "synthesis_own_package.RandomScratches"
    assert operator["init_args"]["width_px"] == [3.0, 6.0]
    save_to = ["--model.save_to", str(tmp_path / "again")]
    assert main(["fit", "--config", str(saved), *save_to, "--trainer.fast_dev_run", "true"]) == 0


def test_without_its_operator_its_name_is_unknown(trained: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *trained, "--data.synthesis.operators", "[]", "--data.synthesis.composites", "[]"]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert "unknown degradation 'scratches'" in line


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"class_path": "no_such_package.RandomScratches"}, "No module named 'no_such_package'"),
        (
            {"class_path": "synthesis_own_package.RandomScratches", "init_args": {"width": 3}},
            "Option 'width' is not accepted",
        ),
        ({"class_path": "collections.OrderedDict"}, "does not correspond to a subclass of Degradation"),
        ("no_such_package.RandomScratches", "'no_such_package.RandomScratches' cannot be imported"),
    ],
    ids=["class_path", "argument", "other class", "grammar"],
)
def test_an_operator_that_cannot_be_made_is_one_line(
    trained: list[str], entry: Any, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Path(trained[1])
    config = yaml.safe_load(file.read_text())
    config["data"]["init_args"]["synthesis"]["operators"] = [entry]
    file.write_text(yaml.safe_dump(config))
    assert main(["fit", *trained]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert said in line
