import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

from abair_pl.batch import PhotoBatch, RestorationBatch
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.synthesis import SynthesisConfig
from abair_pl.degradations import RandomGaussianNoise
from abair_pl.errors import InputError, ShardError

Picture = Callable[..., NDArray[np.uint8]]
Make = Callable[..., RestorationDataModule]
NAMES = ["rain", "haze", "noise"]


@pytest.fixture
def make(clean_shards: Path) -> Make:
    """``make(**settings)``: a datamodule over the clean shards, without workers."""

    def build(**settings: Any) -> RestorationDataModule:
        small = {"batch_size": 8, "patch_px": 32, "val_patch_px": 24, "workers": 0, "shuffle_buffer": 4}
        return RestorationDataModule(**{"train": str(clean_shards), "val": str(clean_shards), **small, **settings})

    return build


def _attach(datamodule: RestorationDataModule, **trainer: Any) -> RestorationDataModule:
    """Stand in for a trainer, by the few attributes that a datamodule reads."""
    module = SimpleNamespace(degradations=NAMES)
    settings: dict[str, Any] = {
        "world_size": 1,
        "global_rank": 0,
        "training": True,
        "predicting": False,
        "accumulate_grad_batches": 1,
        "global_step": 0,
        "log_every_n_steps": 1,
        "loggers": [],
    }
    settings |= {"lightning_module": module, **trainer}
    datamodule.trainer = cast(L.Trainer, SimpleNamespace(**settings))
    return datamodule


def _first(loader: Any) -> PhotoBatch:
    batch: PhotoBatch = next(iter(loader))
    return batch


def _evaluated(datamodule: RestorationDataModule) -> RestorationBatch:
    return datamodule.on_after_batch_transfer(_first(datamodule.val_dataloader()), 0)


class TestEvaluation:
    def test_every_photograph_is_shown_with_every_degradation(self, make: Make) -> None:
        datamodule = make()
        datamodule.prepare_synthesis(NAMES)
        photographs = _first(datamodule.val_dataloader())
        batch = datamodule.on_after_batch_transfer(photographs, 0)
        count = len(photographs.keys)
        assert count == 2  # a quarter of a training batch
        assert batch.clean.shape == batch.degraded.shape == (3 * count, 3, 24, 24)
        assert batch.keys == photographs.keys * 3
        assert batch.valid.tolist() == [True] * 3 * count
        for row in range(3 * count):
            assert batch.labels[row].unique().tolist() == [1 + row // count]
            assert torch.equal(batch.clean[row], photographs.clean[row % count].float() / 255)
            assert not torch.equal(batch.clean[row], batch.degraded[row])

    def test_it_is_deterministic(self, make: Make) -> None:
        first, again = make(), make()
        for datamodule in (first, again):
            datamodule.prepare_synthesis(NAMES)
        assert torch.equal(_evaluated(first).degraded, _evaluated(again).degraded)

    def test_a_degradation_looks_the_same_whatever_others_there_are(self, make: Make) -> None:
        two, one = make(), make()
        two.prepare_synthesis(["haze", "noise"])
        one.prepare_synthesis(["noise"])
        assert torch.equal(_evaluated(one).degraded, _evaluated(two).degraded[2:])

    def test_degradations_of_one_kind_are_drawn_independently(self, make: Make) -> None:
        alike = [type(f"{name}Noise", (RandomGaussianNoise,), {"name": name})() for name in ("ab", "cd")]
        datamodule = make(synthesis=SynthesisConfig(operators=alike))
        datamodule.prepare_synthesis(["ab", "cd"])
        first, second = _evaluated(datamodule).degraded.chunk(2)
        assert not torch.equal(first, second)

    def test_another_module_gets_labels_of_its_own(self, make: Make) -> None:
        datamodule = make()
        datamodule.prepare_synthesis(["haze", "noise"])
        _evaluated(datamodule)
        datamodule.prepare_synthesis(["noise"])
        assert (_evaluated(datamodule).labels == 1).all()

    def test_a_phase_of_one_degradation_is_measured_on_that_one(self, make: Make) -> None:
        datamodule = make()
        datamodule.prepare_synthesis(["noise"])
        batch = _evaluated(datamodule)
        assert len(batch.clean) == 2
        assert (batch.labels == 1).all()
        assert batch.shares.tolist() == [[0.0, 1.0]] * 2

    def test_each_photograph_is_given_once(self, make: Make) -> None:
        keys = [key for batch in make().val_dataloader() for key in batch.keys]
        assert sorted(keys) == [f"p{index:02d}" for index in range(12)]

    def test_test_shards_default_to_those_of_validation(self, make: Make, pair_shards: Path) -> None:
        assert _first(make().test_dataloader()).keys == ("p00", "p01")
        assert _first(make(test=str(pair_shards)).predict_dataloader()).keys == ("p0",)


class TestTraining:
    def test_batches_have_their_size_and_patches(self, make: Make) -> None:
        batch = _first(make().train_dataloader())
        assert batch.clean.shape == (8, 3, 32, 32)
        assert batch.degraded is None
        assert batch.valid.all()

    def test_degradations_are_mixed_by_each_samples_seed(self, make: Make) -> None:
        datamodule = _attach(make(batch_size=12, synthesis=SynthesisConfig(cutmix_probability=0.5)))
        datamodule.setup("fit")
        photographs = _first(datamodule.train_dataloader())
        batch = datamodule.on_after_batch_transfer(photographs, 0)
        synthesizer = datamodule.made.synthesizer
        expected = synthesizer(photographs.clean / 255, synthesizer.plan(photographs.seeds))
        assert torch.equal(batch.degraded, expected.degraded)
        assert torch.equal(batch.labels, expected.labels)
        assert torch.equal(batch.shares, expected.shares)
        assert len(batch.labels.unique()) > 2

    def test_a_phase_of_one_degradation_trains_on_that_one(self, make: Make) -> None:
        datamodule = _attach(make(), lightning_module=SimpleNamespace(degradations=["haze"]))
        datamodule.setup("fit")
        batch = datamodule.on_after_batch_transfer(_first(datamodule.train_dataloader()), 0)
        assert (batch.labels == 1).all()

    def test_severity_follows_the_training_step(self, make: Make) -> None:
        strength = []
        for step in (0, 100):
            settings = SynthesisConfig(operators=["noise"], severity_steps=100)
            datamodule = _attach(make(synthesis=settings), global_step=step)
            datamodule.prepare_synthesis(["noise"])
            batch = datamodule.on_after_batch_transfer(_first(datamodule.train_dataloader()), 0)
            strength.append(float((batch.degraded - batch.clean).std()))
        assert strength[1] > 1.4 * strength[0]

    def test_prediction_takes_photographs_as_they_are(self, make: Make) -> None:
        datamodule = _attach(make(), training=False, predicting=True)
        datamodule.setup("predict")
        batch = datamodule.on_after_batch_transfer(_first(datamodule.predict_dataloader()), 0)
        assert torch.equal(batch.degraded, batch.clean)
        assert not batch.labels.any()

    def test_shares_reach_the_synthesizer(self, make: Make) -> None:
        datamodule = _attach(make(synthesis=SynthesisConfig(clean_probability=1.0)))
        datamodule.setup("fit")
        batch = datamodule.on_after_batch_transfer(_first(datamodule.train_dataloader()), 0)
        assert torch.equal(batch.degraded, batch.clean)

    def test_what_a_device_cannot_take_at_once_is_accumulated(self, make: Make) -> None:
        datamodule = _attach(make(batch_size=12, device_batch_size=5))
        datamodule.setup("fit")
        trainer: Any = datamodule.trainer
        assert trainer.accumulate_grad_batches == 3
        assert len(_first(datamodule.train_dataloader()).keys) == 4
        assert datamodule.state_dict()["accumulated"] == 3

    def test_measuring_keeps_within_what_a_device_takes(self, make: Make) -> None:
        for largest, measured in ((None, 3), (8, 2), (1, 1)):
            datamodule = _attach(make(batch_size=12, device_batch_size=largest))
            assert len(_first(datamodule.val_dataloader()).keys) == measured

    def test_a_checkpoint_of_another_split_is_counted_anew(self, make: Make) -> None:
        """As if its seven steps had been of two batches; the hooks of the last one are still to come."""
        datamodule = _attach(make(device_batch_size=4))
        datamodule.setup("fit")
        seven = {"ready": 7, "started": 7, "processed": 7, "completed": 6}
        progress = SimpleNamespace(total=SimpleNamespace(**seven), current=SimpleNamespace(**seven))
        trainer: Any = datamodule.trainer
        trainer.fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        datamodule.load_state_dict({**make().state_dict(), "accumulated": 1})
        for _ in range(2):  # a second loader changes nothing
            datamodule.train_dataloader()
            for counts in (progress.total, progress.current):
                assert vars(counts) == {"ready": 14, "started": 14, "processed": 14, "completed": 13}

    def test_ranks_divide_the_batch_and_the_photographs(self, make: Make) -> None:
        keys: list[str] = []
        for rank in range(2):
            datamodule = _attach(make(batch_size=12), world_size=2, global_rank=rank)
            datamodule.setup("fit")
            keys += _first(datamodule.train_dataloader()).keys
        assert sorted(keys) == [f"p{index:02d}" for index in range(12)]

    def test_custom_operators_are_used_by_name(self, make: Make) -> None:
        own = RandomGaussianNoise(sigma_8bit=(0.0, 0.0))
        datamodule = make(synthesis=SynthesisConfig(operators=[own]))
        datamodule.prepare_synthesis(["noise"])
        batch = _evaluated(datamodule)
        assert torch.equal(batch.clean, batch.degraded)


class TestPairs:
    def test_real_pairs_get_the_label_of_their_degradation(
        self, make: Make, pair_shards: Path, picture: Picture
    ) -> None:
        datamodule = make(val=str(pair_shards))
        datamodule.prepare_synthesis(["rain"])
        batch = _evaluated(datamodule)
        target = torch.from_numpy(picture(0)[8:32, 12:36]).permute(2, 0, 1)
        assert torch.equal(batch.clean[0], target / 255)
        assert torch.equal(batch.degraded[0], (255 - target) / 255)
        assert (batch.labels == 1).all()
        assert batch.labels.shape == (2, 24, 24)

    def test_their_degradation_may_have_any_name(self, make: Make, pair_shards: Path) -> None:
        datamodule = make(train=str(pair_shards), val=str(pair_shards), batch_size=2)
        module = SimpleNamespace(degradations=["sleet"])
        _attach(datamodule, lightning_module=module).setup("fit")
        batch = datamodule.on_after_batch_transfer(_first(datamodule.train_dataloader()), 0)
        assert (batch.labels == 1).all()
        assert torch.allclose(batch.degraded, 1.0 - batch.clean)

    def test_they_need_a_phase_of_one_degradation(self, make: Make, pair_shards: Path) -> None:
        datamodule = make(val=str(pair_shards))
        datamodule.prepare_synthesis(NAMES)
        with pytest.raises(InputError, match="shards of pairs do not say what they show"):
            _evaluated(datamodule)

    def test_with_a_name_they_go_between_photographs(self, make: Make, clean_shards: Path, sleet_shards: Path) -> None:
        both = [str(clean_shards), str(sleet_shards)]
        datamodule = make(train=dict.fromkeys(both, 1.0), val=both, batch_size=16)
        module = SimpleNamespace(degradations=["rain", "sleet"])
        _attach(datamodule, lightning_module=module).setup("fit")
        photographs = _first(datamodule.train_dataloader())
        assert set(photographs.damages) == {None, "sleet"}
        batch = datamodule.on_after_batch_transfer(photographs, 0)
        sleet = batch.labels[:, 0, 0] == 2
        assert int(sleet.sum()) == photographs.damages.count("sleet")
        assert torch.allclose(batch.degraded[sleet], 1.0 - batch.clean[sleet])
        trainer: Any = datamodule.trainer
        trainer.training = False
        measured = [datamodule.on_after_batch_transfer(batch, 0) for batch in datamodule.val_dataloader()]
        counts = torch.cat([batch.labels[:, 0, 0][batch.valid] for batch in measured]).bincount()
        assert counts.tolist() == [0, 12, 6]

    @pytest.mark.parametrize(("use", "missing"), [("train", "train"), ("val", "measure")])
    def test_what_only_they_show_is_in_both_uses(
        self, make: Make, clean_shards: Path, sleet_shards: Path, use: str, missing: str
    ) -> None:
        both = [str(clean_shards), str(sleet_shards)]
        datamodule = make(**{"train": both, "val": both, use: str(clean_shards)})
        _attach(datamodule, lightning_module=SimpleNamespace(degradations=["rain", "sleet"]))
        with pytest.raises(InputError, match=rf"nothing to {missing} sleet on: .*; expected .* --degradation NAME"):
            datamodule.setup("fit")

    def test_they_alone_leave_the_other_degradations_out(self, make: Make, sleet_shards: Path) -> None:
        datamodule = make(train=str(sleet_shards), val=str(sleet_shards), batch_size=2)
        _attach(datamodule, lightning_module=SimpleNamespace(degradations=["sleet", "rain"]))
        with pytest.raises(InputError, match="nothing to train rain on"):
            datamodule.setup("fit")


class TestRefusals:
    def test_too_few_shards_name_the_remedy(self, make: Make) -> None:
        datamodule = _attach(make(workers=3), world_size=2)
        with pytest.raises(
            ShardError, match=r"4 training shards in .* for 2 ranks x 3 workers.* at least 6: set --data"
        ):
            datamodule.setup("fit")

    def test_too_few_shards_in_one_of_the_sources(self, make: Make, clean_shards: Path, pair_shards: Path) -> None:
        datamodule = _attach(make(train={str(clean_shards): 0.9, str(pair_shards): 0.1}, workers=3))
        with pytest.raises(ShardError, match=rf"2 training shards in {pair_shards} for 1 ranks x 3 workers"):
            datamodule.setup("fit")

    def test_pairs_and_single_photographs_before_the_first_batch(
        self, make: Make, clean_shards: Path, pair_shards: Path
    ) -> None:
        both = rf"{pair_shards} holds pairs of no known degradation, {clean_shards} single photographs; expected one of"
        with pytest.raises(ShardError, match=both):
            _attach(make(train={str(clean_shards): 0.9, str(pair_shards): 0.1})).setup("fit")
        with pytest.raises(ShardError, match=both):
            _attach(make(train=[str(clean_shards), str(pair_shards)])).setup("fit")
        with pytest.raises(ShardError, match=both):
            _attach(make(val=[str(clean_shards), str(pair_shards)])).setup("fit")

    @pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
    def test_shards_to_measure_on_without_a_manifest(
        self, make: Make, clean_shards: Path, tmp_path: Path, stage: str
    ) -> None:
        shutil.copy(clean_shards / "clean-000000.tar", tmp_path)
        name = "val" if stage in ("fit", "validate") else "test"
        with pytest.raises(ShardError, match=r"has no manifest\.json; make it with: abair-pl shards build"):
            _attach(make(**{name: str(tmp_path)})).setup(stage)

    @pytest.mark.parametrize("name", ["train", "val", "test"])
    def test_shell_commands_unless_allowed(self, make: Make, name: str) -> None:
        stage = "test" if name == "test" else "fit"
        with pytest.raises(ShardError, match=r"allow it with --data\.allow_pipe true"):
            _attach(make(**{name: "pipe:cat x.tar"})).setup(stage)

    @pytest.mark.parametrize(
        "settings", [{"cache_gb": 1.0}, {"cache_gb": 0.0, "cache_dir": Path("x")}, {"max_broken_share": 1.5}]
    )
    def test_settings_that_cannot_be(self, make: Make, settings: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=rf"data\.{next(iter(settings))} is"):
            make(**settings)

    def test_a_batch_that_does_not_divide(self, make: Make) -> None:
        with pytest.raises(InputError, match="batch_size 8 does not divide over 3 devices x 1 accumulated"):
            _attach(make(), world_size=3).setup("fit")

    def test_batches_before_it_is_said_what_to_synthesize(self, make: Make) -> None:
        with pytest.raises(InputError, match="expected at least one"):
            _evaluated(make())

    def test_unknown_degradations_before_the_first_batch(self, make: Make) -> None:
        module = SimpleNamespace(degradations=["rain", "sleet"])
        with pytest.raises(InputError, match="unknown degradation 'sleet'"):
            _attach(make(), lightning_module=module).setup("fit")

    @pytest.mark.parametrize("name", ["batch_size", "device_batch_size", "patch_px", "val_patch_px", "shuffle_buffer"])
    def test_numbers_below_one(self, make: Make, name: str) -> None:
        with pytest.raises(InputError, match=rf"data\.{name} is 0; expected at least 1"):
            make(**{name: 0})

    @pytest.mark.parametrize("name", ["workers", "seed"])
    def test_numbers_below_zero(self, make: Make, name: str) -> None:
        with pytest.raises(InputError, match=rf"data\.{name} is -1; expected at least 0"):
            make(**{name: -1})

    @pytest.mark.parametrize("settings", [{"cutmix_probability": 1.5}, {"clean_probability": -1.0}])
    def test_bad_shares_before_the_first_batch(self, make: Make, settings: dict[str, float]) -> None:
        with pytest.raises(InputError, match=next(iter(settings))):
            _attach(make(synthesis=SynthesisConfig(**settings))).setup("fit")  # type: ignore[arg-type]


def test_shards_at_an_address_are_trained_and_measured_on_by_way_of_the_cache(
    make: Make, clean_shards: Path, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    shards = f"{serve(clean_shards)}/clean-{{000000..000003}}.tar"
    datamodule = _attach(make(train=shards, val=shards, workers=2, cache_dir=tmp_path, cache_gb=1.0))
    datamodule.setup("fit")
    assert _first(datamodule.train_dataloader()).clean.shape == (8, 3, 32, 32)
    assert sorted(key for batch in datamodule.val_dataloader() for key in batch.keys if batch.valid.all()) == [
        f"p{index:02d}" for index in range(12)
    ]
    assert len(list(tmp_path.glob("*.tar"))) == 4


def test_measuring_on_urls_without_a_cache_is_warned_of(
    make: Make, clean_shards: Path, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    shards = f"{serve(clean_shards)}/clean-{{000000..000003}}.tar"
    with pytest.warns(UserWarning, match=r"each of 6 loader processes downloads all 4 shards.*--data\.cache_dir"):
        _attach(make(val=shards, workers=3), world_size=2).setup("validate")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _attach(make(val=shards, workers=3, cache_dir=tmp_path), world_size=2).setup("validate")
        _attach(make(val=shards, workers=1)).setup("validate")
        _attach(make(workers=3), world_size=2).setup("validate")


def test_provenance_follows_the_manifest_and_the_settings(make: Make, clean_shards: Path, pair_shards: Path) -> None:
    facts = make(seed=5).provenance()
    by_source = {"data_sources", "data_layouts", "data_licences"}
    assert facts.keys() == {"data_manifest", "data_seed", "batch_size", "patch_px"} | by_source
    assert (facts["data_seed"], facts["batch_size"], facts["patch_px"]) == (5, 8, 32)
    assert facts["data_sources"] == {str(clean_shards): 1.0}
    assert facts["data_manifest"] == make().provenance()["data_manifest"]
    assert facts["data_manifest"] != make(train=str(pair_shards)).provenance()["data_manifest"]
    mixed = make(train={str(clean_shards): 3.0, "https://user:word@host/a.tar?sign=1": 1.0}).provenance()
    assert mixed["data_sources"] == {str(clean_shards): 0.75, "https://host/a.tar": 0.25}
    listed = make(train=["https://host/a.tar", "https://user:word@host/b.tar"]).provenance()
    assert listed["data_sources"] == {"https://host/a.tar, https://host/b.tar": 1.0}
    commands = {"pipe:curl -H one": 1.0, "pipe:curl -H two": 2.0, str(clean_shards): 1.0}
    piped = make(train=commands, allow_pipe=True).provenance()
    assert piped["data_sources"] == {"pipe:": 0.75, str(clean_shards): 0.25}


@pytest.mark.parametrize(
    ("text", "train"),
    [
        ("shards/a-{000..009}.tar", "shards/a-{000..009}.tar"),
        ("[a, 'b-{0..1}.tar']", ["a", "b-{0..1}.tar"]),
        ('{"a": 0.8, "b-{0..1}.tar": 0.2}', {"a": 0.8, "b-{0..1}.tar": 0.2}),
        (
            "{shards/gld: 3, 'shards/leaves-{000..009}.tar': 1}",
            {"shards/gld": 3.0, "shards/leaves-{000..009}.tar": 1.0},
        ),
    ],
)
def test_sources_are_read_from_the_command_line_and_from_yaml(
    tmp_path: Path, text: str, train: str | list[str] | dict[str, float]
) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(RestorationDataModule, "data")
    parser.add_argument("--config", action="config")
    name = "data.init_args.train"
    common = ["--data", f"{RestorationDataModule.__module__}.RestorationDataModule", "--data.val", "x"]
    assert parser.parse_args([*common, "--data.train", text])[name] == train
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"data": {"init_args": {"train": train}}}))
    assert parser.parse_args([*common, "--data.train", "y", "--config", str(config)])[name] == train
