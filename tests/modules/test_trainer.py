"""Finding the checkpoint to go on from, and the validation that it left to be done."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from abair_pl.batch import RestorationBatch
from abair_pl.errors import InputError
from abair_pl.modules import trainer as trainer_module
from abair_pl.modules.callbacks import RollingCheckpoint
from abair_pl.modules.checkpoint_files import AtomicCheckpointIO
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule
from abair_pl.modules.trainer import PhaseTrainer, resume_from

PLACE = Path("checkpoints", "pretrain")


class Killed(BaseException):
    """In place of a signal that ends a process at once."""


class Watch(Callback):
    """Notes what happens, and ends the run at a moment.

    Args:
        killed_at: A hook of Lightning's and the step.
    """

    def __init__(self, killed_at: tuple[str, int] | None = None) -> None:
        self.killed_at = killed_at
        self.steps: list[int] = []
        self.validations: list[tuple[int, int]] = []  # the step, and how many batches
        self.metrics: dict[str, Any] = {}
        self._batches = 0

    def _at(self, moment: str, trainer: L.Trainer) -> None:
        if self.killed_at == (moment, trainer.global_step):
            raise Killed

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.steps.append(trainer.global_step)
        self._at("on_train_batch_end", trainer)

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._batches = 0
        self._at("on_validation_start", trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._batches += 1

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.validations.append((trainer.global_step, self._batches))
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if "val/" in name}
        self._at("on_validation_end", trainer)


Run = Callable[..., tuple[PretrainModule, Watch]]


@pytest.fixture
def make_module(nano: str, fast: OptimizationConfig, tmp_path: Path) -> Callable[[], PretrainModule]:
    def make() -> PretrainModule:
        torch.manual_seed(0)
        settings = replace(fast, ema_decay=0.5)
        return PretrainModule(tmp_path / "bundle", nano, ["rain", "haze"], optimization=settings)

    return make


@pytest.fixture
def make_phase_trainer(tmp_path: Path) -> Callable[..., PhaseTrainer]:
    """A quiet trainer for four steps, which validates two batches after each second and keeps all checkpoints."""

    def make(*callbacks: Callback, **options: Any) -> PhaseTrainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        steps = {"max_steps": 4, "val_check_interval": 2, "check_val_every_n_epoch": None, "limit_val_batches": 2}
        rolling = [RollingCheckpoint(every_n_steps=1, keep=9)] if options.pop("rolling", True) else []
        settings = {"accelerator": "cpu", "num_sanity_val_steps": 0, "default_root_dir": tmp_path, **quiet, **steps}
        return PhaseTrainer(callbacks=[*callbacks, *rolling], **{**settings, **options})

    return make


@pytest.fixture
def run(
    make_module: Callable[[], PretrainModule],
    make_phase_trainer: Callable[..., PhaseTrainer],
    batches: list[RestorationBatch],
    data: Callable[..., L.LightningDataModule],
) -> Run:
    """Train anew or go on; gives the module, and what happened."""

    def train(
        killed_at: tuple[str, int] | None = None, resume: Any = "auto", **options: Any
    ) -> tuple[PretrainModule, Watch]:
        ckpt_path = options.pop("ckpt_path", None)
        module, watch = make_module(), Watch(killed_at)
        trainer = make_phase_trainer(watch, **options)
        try:
            trainer.fit(module, datamodule=data(batches[:1] * 4), resume=resume, ckpt_path=ckpt_path)
        except Killed:
            assert killed_at
        else:
            assert not killed_at
        return module, watch

    return train


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_without_a_checkpoint_it_starts_anew(run: Run, tmp_path: Path) -> None:
    _, watch = run()
    assert watch.steps == [1, 2, 3, 4]
    assert [path.name for path in (tmp_path / PLACE).iterdir()] == ["run-0"]


def test_it_goes_on_from_the_newest_whole_checkpoint(run: Run, tmp_path: Path) -> None:
    run(("on_train_batch_end", 4))
    folder = tmp_path / PLACE / "run-0"
    assert sorted(path.name for path in folder.iterdir()) == [f"step-{step:09d}.ckpt" for step in (1, 2, 3)]
    (folder / "step-000000003.ckpt").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"step-000000003\.ckpt is passed over"):
        _, watch = run(("on_train_batch_end", 4))
    assert watch.steps == [3, 4]
    _, watch = run()
    assert watch.steps == [4]


def test_never_starts_anew_whatever_there_is(run: Run, tmp_path: Path) -> None:
    run(("on_train_batch_end", 3))
    _, watch = run(resume="never")
    assert watch.steps == [1, 2, 3, 4]
    assert sorted(path.name for path in (tmp_path / PLACE).iterdir()) == ["run-0", "run-1"]


def test_the_checkpoints_of_another_phase_are_not_taken(run: Run, tmp_path: Path) -> None:
    run(("on_train_batch_end", 3))
    (tmp_path / PLACE).rename(tmp_path / PLACE.with_name("adapter-rain"))
    _, watch = run()
    assert watch.steps == [1, 2, 3, 4]


def test_a_checkpoint_beside_auto_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"both --resume auto and --ckpt_path .*a\.ckpt are given; expected one"):
        run(ckpt_path=tmp_path / "a.ckpt")


def test_auto_needs_checkpoints_that_can_be_found(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--resume auto finds nothing without a RollingCheckpoint in trainer\.call"):
        run(rolling=False)
    with pytest.raises(InputError, match="RollingCheckpoint"):
        resume_from(None, tmp_path, "pretrain")
    run(rolling=False, resume="never", enable_checkpointing=False)


def test_a_folder_of_the_users_is_searched(tmp_path: Path) -> None:
    callback = RollingCheckpoint(folder=tmp_path / "fast")
    assert resume_from([callback], tmp_path, "adapter/rain") is None
    path = tmp_path / "fast" / "adapter-rain" / "run-3" / "step-000000007.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({}, path)
    assert resume_from([Callback(), callback], tmp_path, "adapter/rain") == path


@pytest.mark.parametrize("moment", ["on_validation_start", "on_validation_end"])
@pytest.mark.parametrize("step", [2, 4])
def test_a_validation_that_was_not_done_is_caught_up(run: Run, moment: str, step: int, tmp_path: Path) -> None:
    """As it would have been, with the averaged weights; the run then ends as one that was not interrupted."""
    whole, undisturbed = run()
    shutil.rmtree(tmp_path / PLACE)
    assert undisturbed.validations == [(2, 2), (4, 2)]
    run((moment, step))
    resumed, watch = run()
    assert watch.validations == [(at, 2) for at in (2, 4) if at >= step]
    assert watch.steps == list(range(step + 1, 5))
    assert watch.metrics == undisturbed.metrics
    assert len(watch.metrics) > 2
    assert same(whole, resumed)
    rolling: Any = resumed.trainer.checkpoint_callback
    assert rolling.state_dict() == {"validation_due": False}
    again, watch = run()
    assert (watch.validations, watch.steps) == ([(4, 2)], [])
    assert same(whole, again)


@pytest.mark.parametrize("step", [1, 3])
def test_a_validation_that_was_done_or_not_due_is_not_caught_up(run: Run, step: int) -> None:
    """There is a checkpoint of after the last step that was not followed by one."""
    run(("on_train_batch_end", step + 1))
    _, watch = run()
    first = [(2, 2), (4, 2)] if step == 1 else [(4, 2)]
    assert watch.validations == first
    assert watch.steps == list(range(step + 1, 5))


def test_it_is_caught_up_once(run: Run) -> None:
    """Also where the run dies in the very next step."""
    run(("on_validation_start", 2))
    _, watch = run(("on_train_batch_end", 4))
    assert watch.validations == [(2, 2)]
    _, watch = run()
    assert watch.validations == [(4, 2)]


def test_where_nothing_is_validated_nothing_is_caught_up(run: Run) -> None:
    run(("on_validation_start", 2))
    _, watch = run(limit_val_batches=0)
    assert watch.validations == []
    assert watch.steps == [3, 4]


@pytest.mark.parametrize(("sanity_steps", "found"), [(0, []), (1, [(0, 1)])])
def test_a_new_run_still_looks_whether_validation_works(run: Run, sanity_steps: int, found: list[Any]) -> None:
    _, watch = run(num_sanity_val_steps=sanity_steps, val_check_interval=4)
    assert watch.validations == [*found, (4, 2)]


class OwnIO(TorchCheckpointIO):
    """A user's."""


def test_checkpoints_are_written_in_one_step_unless_a_plugin_does_it(
    make_phase_trainer: Callable[..., PhaseTrainer],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert type(make_phase_trainer().strategy.checkpoint_io) is AtomicCheckpointIO
        own = OwnIO()
        assert make_phase_trainer(plugins=[own]).strategy.checkpoint_io is own


@pytest.mark.parametrize(
    ("given", "in_hardware", "used"),
    [
        ("bf16-mixed", True, "bf16-mixed"),
        ("bf16-mixed", False, "32-true"),
        ("bf16-true", False, "bf16-true"),
        ("64-true", False, "64-true"),
    ],
)
def test_a_cpu_that_only_emulates_bfloat16_trains_in_float32(
    make_phase_trainer: Callable[..., PhaseTrainer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    given: Any,
    in_hardware: bool,
    used: str,
) -> None:
    monkeypatch.setattr(trainer_module, "has_bf16", lambda: in_hardware)
    with caplog.at_level("INFO"):
        trainer = make_phase_trainer(precision=given)
    assert trainer.precision == used
    assert ("this CPU has no instructions for bfloat16" in caplog.text) == (given != used)
    if given == "bf16-mixed":
        with trainer.precision_plugin.forward_context():
            computed = torch.nn.functional.linear(torch.ones(1, 1), torch.ones(1, 1)).dtype
        assert computed == (torch.bfloat16 if in_hardware else torch.float32)
