import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.ablation.fakes import FakeFits

from abair_pl.bundle import Bundle
from abair_pl.errors import AbairError, InputError
from abair_pl.evaluation.ablation.runs import Training
from abair_pl.evaluation.ablation.variants import PhaseOptions, Variant, read_ablation

ABLATIONS = Path(__file__).parents[3] / "configs" / "ablation"
ALL_FITS = ["pretrain", "rain", "noise", "estimator"]
PLAIN = Variant("plain")


def adapters_of(rank: int) -> Variant:
    return Variant(f"rank {rank}", options=PhaseOptions(adapter={"model.adapter.rank": rank}))


def test_three_phases_hand_over(training: Training, fits: FakeFits) -> None:
    bundle = training.bundle(PLAIN, 3)
    assert fits.names == ALL_FITS
    assert Bundle.open(bundle).estimator_is_current
    pretrain, rain, noise, estimator = (options for _, options in fits.done)
    assert rain["model.init_from"] == noise["model.init_from"] == pretrain["model.save_to"]
    assert estimator["model.init_from"] == rain["model.save_to"] == noise["model.save_to"]
    assert (rain["model.degradation"], noise["model.degradation"]) == ("rain", "noise")
    assert pretrain["model.preset"] == "tiny"
    for name, options in fits.done:
        assert options["seed_everything"] == options["data.seed"] == "3"
        assert (options["data.train"], options["data.val"]) == ("shards/train", "shards/val")
        assert options["trainer.logger.name"] == name
        assert options["trainer.enable_progress_bar"] == "false"
        folder = options["trainer.default_root_dir"]
        assert folder == options["trainer.logger.save_dir"] == str(Path(options["model.save_to"]).parent)
    assert len({options["trainer.default_root_dir"] for _, options in fits.done}) == 3


def test_what_is_done_is_not_done_again(training: Training, fits: FakeFits) -> None:
    bundle = training.bundle(PLAIN, 0)
    assert training.bundle(Variant("the same", "oracle"), 0) == bundle, "a blend is no training"
    assert replace(training, jobs=2).bundle(PLAIN, 0) == bundle
    assert fits.names == ALL_FITS


def test_adapters_alone_share_the_cores(training: Training, fits: FakeFits) -> None:
    replace(training, jobs=2).bundle(PLAIN, 0)
    assert dict(zip(fits.names, fits.jobs, strict=True)) == {"pretrain": 1, "rain": 2, "noise": 2, "estimator": 1}


def test_only_what_differs_is_trained_again(training: Training, fits: FakeFits) -> None:
    bundles = {training.bundle(variant, 0) for variant in (PLAIN, adapters_of(8))}
    assert fits.names == [*ALL_FITS, "rain", "noise", "estimator"]
    bundles.add(training.bundle(Variant("III", options=PhaseOptions(estimator={"data.patch_px": 64})), 0))
    assert fits.names[7:] == ["estimator"]
    bundles.add(training.bundle(PLAIN, 1))
    assert fits.names[8:] == ALL_FITS
    bundles.add(replace(training, preset="small").bundle(PLAIN, 0))
    assert fits.names[12:] == ALL_FITS
    bundles.add(replace(training, data={"data.train": "others", "data.val": "shards/val"}).bundle(PLAIN, 0))
    assert fits.names[16:] == ALL_FITS
    assert len(bundles) == 6


def test_saying_what_the_configuration_says_is_no_difference(training: Training, fits: FakeFits) -> None:
    assert training.bundle(PLAIN, 0) == training.bundle(adapters_of(4), 0)
    assert fits.names == ALL_FITS


def test_another_configuration_is_a_difference(training: Training, fits: FakeFits, tmp_path: Path) -> None:
    configs = Path(shutil.copytree(training.configs, tmp_path / "configs"))
    training.bundle(PLAIN, 0)
    replace(training, configs=configs).bundle(PLAIN, 0)
    assert fits.names == ALL_FITS, "the same, elsewhere"
    other = tmp_path / "others"
    shutil.copytree(training.configs, other)
    file = other / "adapter.yaml"
    file.write_text(file.read_text().replace("max_steps: 50000", "max_steps: 60000"))
    replace(training, configs=other).bundle(PLAIN, 0)
    assert fits.names[4:] == ["rain", "noise", "estimator"]


def test_shipped_ablations_train_no_more_than_needed(training: Training, fits: FakeFits) -> None:
    for name, count in (("table8", 4), ("table6", 4 + 4), ("table7", 8 * 3)):
        before = len(fits.done)
        for variant in read_ablation(ABLATIONS / f"{name}.yaml").variants.values():
            training.bundle(variant, 0)
        assert len(fits.done) - before == count, f"{name} shares with those before"


def test_options_of_variants_go_first(training: Training, fits: FakeFits) -> None:
    options = PhaseOptions(every={"data.train": "mine", "data.patch_px": 96}, adapter={"trainer.max_steps": 7})
    scale = PhaseOptions(
        every={"trainer.enable_progress_bar": True, "data.val_patch_px": 64},
        pretrain={"model.degradations": ["rain"]},
        adapter={"trainer.max_steps": 5, "data.patch_px": 80},
    )
    replace(training, scale=scale).bundle(Variant("mine", options=options), 0)
    rain = fits.done[1][1]
    assert (rain["data.train"], rain["data.val"]) == ("mine", "shards/val")
    assert (rain["trainer.max_steps"], rain["data.patch_px"], rain["data.val_patch_px"]) == ("7", "96", "64")
    assert rain["trainer.enable_progress_bar"] == "true"


@pytest.mark.parametrize(("killed_at", "left"), list(enumerate(ALL_FITS)))
def test_what_was_killed_is_run_again(killed_at: int, left: str, training: Training, fits: FakeFits) -> None:
    fits.fails_at = left
    with pytest.raises(AbairError, match=f"{left} failed"):
        training.bundle(PLAIN, 0)
    assert fits.names == ALL_FITS[: killed_at + 1]
    fits.fails_at = ""
    training.bundle(PLAIN, 0)
    assert fits.names[killed_at + 1 :] == ALL_FITS[killed_at:]


def test_a_bundle_that_is_half_a_copy_is_not_done(training: Training, fits: FakeFits) -> None:
    """As kill -9 leaves it in phase II or III: files without config.json, or a copy without what was trained."""
    bundle = training.bundle(PLAIN, 0)
    (bundle / "config.json").unlink()
    training.bundle(PLAIN, 0)
    assert fits.names[4:] == ["estimator"]
    adapters = Path(fits.done[-1][1]["model.init_from"])
    shutil.rmtree(bundle)
    shutil.copytree(adapters, bundle)
    training.bundle(PLAIN, 0)
    assert fits.names[5:] == ["estimator"]


def test_what_is_made_of_other_weights_is_not_done(training: Training, fits: FakeFits) -> None:
    first = training.bundle(PLAIN, 0)
    shutil.rmtree(fits.done[1][1]["trainer.default_root_dir"])
    second = training.bundle(PLAIN, 0)
    assert fits.names[4:] == ["rain", "noise", "estimator"]
    adapters = Bundle.open(fits.done[-1][1]["model.init_from"]).adapter_digests()
    assert Bundle.open(second).adapter_digests() == adapters != Bundle.open(first).adapter_digests()
    shutil.rmtree(fits.done[0][1]["trainer.default_root_dir"])
    training.bundle(PLAIN, 0)
    assert fits.names[7:] == ALL_FITS


def test_an_interrupted_fit_goes_on_from_its_last_checkpoint(training: Training, fits: FakeFits) -> None:
    training.bundle(PLAIN, 0)
    assert all(options["resume"] == "auto" for _, options in fits.done)


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_a_failure_no_other_adapter_is_started(jobs: int, training: Training, fits: FakeFits) -> None:
    fits.fails_at = "rain"
    with pytest.raises(AbairError, match="rain failed"):
        replace(training, scale=PhaseOptions(), jobs=jobs).bundle(PLAIN, 0)
    assert len(fits.done) <= 1 + jobs, "of five"


def test_wrong_options_are_found_before_the_first_run(training: Training) -> None:
    good = {"good": PLAIN, "rank 8": adapters_of(8)}
    training.check(good)
    wrong = Variant("wrong", options=PhaseOptions(estimator={"model.restoration_wait": 1.0}))
    with pytest.raises(InputError, match=r"variant last, phase estimator: .*restoration_wait") as error:
        training.check({**good, "last": wrong})
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"variant good, phase pretrain: .*learning_speed"):
        replace(training, scale=PhaseOptions(every={"model.optimization.learning_speed": 1.0})).check(good)
    with pytest.raises(InputError, match=r"variant good, phase pretrain: .*nowhere"):
        replace(training, configs=Path("nowhere")).check(good)


def test_a_preset_that_cannot_blend_per_pixel_is_refused(training: Training) -> None:
    pixel = {"pixel": Variant("pixel", "pixel")}
    for preset in ("tiny", "small", "paper"):
        replace(training, preset=preset).check(pixel)
    with pytest.raises(InputError, match=r"variant pixel .*preset promptir has no segmentation head"):
        replace(training, preset="promptir").check(pixel)
    replace(training, preset="promptir").check({"soft": PLAIN})
    with pytest.raises(InputError, match=r"unknown preset 'tinny'.*did you mean 'tiny'"):
        replace(training, preset="tinny").check(pixel)


def test_shards_that_were_built_anew_are_other_runs(training: Training, fits: FakeFits) -> None:
    first = replace(training, data_digest="one").bundle(PLAIN, 0)
    assert replace(training, data_digest="one").bundle(PLAIN, 0) == first
    assert fits.names == ALL_FITS
    assert replace(training, data_digest="two").bundle(PLAIN, 0) != first
    assert fits.names == ALL_FITS * 2
