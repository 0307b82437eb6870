"""Signals that end a run, and jobs that are put back into SLURM's queue."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import Callback

from abair_pl.batch import RestorationBatch
from abair_pl.errors import PreemptedError
from abair_pl.modules.callbacks import PreemptionHandler
from abair_pl.modules.pretrain import PretrainModule

Fit = Callable[..., L.Trainer]
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


def ours(handler: Any) -> bool:
    return getattr(handler, "__module__", "") == "abair_pl.modules.callbacks.preemption"


def listening() -> list[bool]:
    return [ours(handler) for handler in handlers()]


class Watch(Callback):
    """Notes who listens; sends this process a signal.

    Args:
        sent: The moment and the signal.
    """

    def __init__(self, sent: tuple[str, signal.Signals] | None = None) -> None:
        self.sent = sent
        self.listening: dict[str, list[bool]] = {}

    def _at(self, moment: str) -> None:
        self.listening[moment] = listening()
        if self.sent is not None and self.sent[0] == moment:
            number, self.sent = self.sent[1], None
            os.kill(os.getpid(), number)

    def on_train_batch_start(self, *_: Any) -> None:
        self._at("step")

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._at("sanity" if trainer.sanity_checking else "validation")


@pytest.fixture(autouse=True)
def _mine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handlers are others than the system's, so that it is seen whether they come back; no job of SLURM's."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    before = handlers()
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


OPTIONS: dict[str, Any] = {
    "num_sanity_val_steps": 1,
    "limit_val_batches": 1,
    "val_check_interval": 2,
    "check_val_every_n_epoch": None,
}


def test_it_listens_in_training_and_no_longer(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit
) -> None:
    before, watch = handlers(), Watch()
    fit(module, batches, callbacks=[watch], **OPTIONS)
    assert watch.listening == {moment: [True, True] for moment in ("sanity", "step", "validation")}
    assert handlers() == before


@pytest.mark.parametrize(
    ("moment", "step"), [("sanity", 0), ("step", 1), ("validation", 2)], ids=["before", "in a step", "in validation"]
)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_run_at_the_end_of_the_step(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    moment: str,
    step: int,
    number: signal.Signals,
) -> None:
    """In validation at the end of the batch; the handlers come back here, too."""
    before = handlers()
    watch = Watch((moment, number))
    with pytest.raises(PreemptedError, match=rf"^stopped by {number.name} at step {step}; without a Rolling"):
        fit(module, batches, callbacks=[watch], **OPTIONS)
    assert handlers() == before
    assert module.global_step == step


def test_measuring_does_not_listen(
    module: PretrainModule, batches: list[RestorationBatch], make_trainer: Fit, data: Callable[..., Any]
) -> None:
    """There is nothing to go on from."""
    module.has_weights = True
    watch = Watch()
    make_trainer(callbacks=[watch]).validate(module, data(batches), verbose=False)
    assert watch.listening == {"validation": [False, False]}


def test_a_thread_may_train_but_does_not_listen() -> None:
    """Python sets handlers in its main thread only."""
    before, failed = handlers(), []

    def start() -> None:
        try:
            PreemptionHandler().setup(*both(0), "fit")
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert not failed
    assert handlers() == before
    PreemptionHandler().setup(*both(0), "fit")
    assert listening() == [True, True]


def test_a_signal_is_noted() -> None:
    trainer, module = both(0)
    module.stop_signal = 0
    PreemptionHandler().setup(trainer, module, "fit")
    for number, noted in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGUSR1, signal.SIGUSR1)):
        os.kill(os.getpid(), number)
        assert module.stop_signal == noted
    os.kill(os.getpid(), signal.SIGTERM)
    assert module.stop_signal == signal.SIGUSR1, "which puts a job back into its queue, whatever follows"


def both(stop_agreed: int, first: bool = True) -> tuple[Any, Any]:
    """A trainer, on the first rank or not, and a module, which was told to stop."""
    state = SimpleNamespace(fn="fit")
    return SimpleNamespace(is_global_zero=first, state=state), SimpleNamespace(stop_agreed=stop_agreed, can_go_on=True)


@pytest.fixture
def requeued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What SLURM's command was given, one line a call; it is in the place of a real one."""
    script, record = tmp_path / "bin" / "scontrol", tmp_path / "calls"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\necho "$*" >> {record}\n[ -z "$FAKE_ERROR" ] && exit 0\necho "$FAKE_ERROR" >&2\nexit 1\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return lambda: record.read_text().splitlines() if record.exists() else []


def stop(number: int = signal.SIGUSR1, first: bool = True) -> list[str]:
    """End a run by a signal; gives the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PreemptionHandler().on_exception(*both(number, first), PreemptedError("stopped"))
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"SLURM_JOB_ID": "4711"}, "requeue 4711"),
        ({"SLURM_JOB_ID": "4713", "SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "2"}, "requeue 4711_2"),
    ],
    ids=["job", "task of an array"],
)
def test_a_job_whose_time_is_over_goes_back_into_the_queue(
    job: dict[str, str],
    expected: str,
    requeued: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.INFO):
        assert stop() == []
    assert requeued() == [expected]
    assert f"job {expected.split()[1]} is back in the queue" in caplog.text


@pytest.mark.parametrize(
    ("number", "first", "job"),
    [(signal.SIGTERM, True, "4711"), (0, True, "4711"), (signal.SIGUSR1, False, "4711"), (signal.SIGUSR1, True, None)],
    ids=["SIGTERM", "no signal", "another rank", "no job"],
)
def test_nothing_else_puts_it_back(
    number: int, first: bool, job: str | None, requeued: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    assert stop(number, first) == []
    assert requeued() == []


def test_where_slurm_refuses_there_is_one_warning(
    requeued: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("FAKE_ERROR", "Invalid job id specified")
    assert stop() == [
        "job 4711 was not put back into the queue (Invalid job id specified); do it by: scontrol requeue 4711"
    ]
    assert requeued() == ["requeue 4711"]


def test_where_there_is_no_scontrol_there_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("PATH", str(tmp_path))
    (said,) = stop()
    assert said.startswith("job 4711 was not put back into the queue (")
    assert "scontrol" in said


def test_a_queue_that_does_not_answer_is_not_waited_for(
    requeued: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("abair_pl.modules.callbacks.preemption._TIMEOUT_S", 0.2)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    (said,) = stop()
    assert "timed out" in said


@pytest.mark.parametrize("job", ["", "4711; rm -rf /", "--all", "4711\n", "47 11", "4711_2"])
@pytest.mark.parametrize("array", [True, False])
def test_an_odd_number_is_refused(
    job: str, array: bool, requeued: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a job, or of a task."""
    monkeypatch.setenv("SLURM_JOB_ID", "4711" if array else job)
    if array:
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4711")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", job)
    (said,) = stop()
    assert "expected numbers: put the job back by: scontrol requeue JOB" in said
    assert requeued() == []


def test_an_array_without_a_task_is_refused(requeued: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4711")
    (said,) = stop()
    assert said.startswith("SLURM_ARRAY_JOB_ID and SLURM_ARRAY_TASK_ID are '4711_'")
    assert requeued() == []
