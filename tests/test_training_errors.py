"""One line for what ends a training."""

import argparse
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from tests.two_ranks import run_two
from torch import distributed

from abair_pl.errors import AbairError, InputError, PreemptedError, TrainingError
from abair_pl.training_errors import explained, speak

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/step-1.ckpt")
LOST = "[../gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:23"
LOADER = "DataLoader worker (pid 4711) is killed by signal: Killed. "


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def while_handling(error: Exception, before: BaseException) -> Exception:
    error.__context__ = before
    return error


def test_our_own_errors_stay_as_they_are() -> None:
    """Also within those of others, and where they come from something that has a line of its own."""
    ours = TrainingError("the loss is gone")
    assert explained(ours) is ours
    assert explained(caused(RuntimeError("wrapped"), ours)) is ours
    assert explained(while_handling(ValueError("x"), caused(RuntimeError("y"), ours))) is ours
    assert explained(caused(ours, FULL)) is ours


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("wrap", [caused, while_handling, lambda _, full: full])
def test_a_full_disk_is_said(number: int, wrap: Callable[..., Exception]) -> None:
    said = explained(wrap(RuntimeError("unexpected pos 64 vs 0"), OSError(number, os.strerror(number))))
    assert type(said) is TrainingError
    assert str(said).startswith("the disk is full; the last checkpoint is whole: make room, and go on with --resume")
    assert str(explained(wrap(RuntimeError("x"), FULL))).startswith("the disk is full at /runs/step-1.ckpt; ")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has"),
            TrainingError,
            "out of memory (CUDA out of memory); give each device a smaller batch (--data.device_batch_size), or",
        ),
        (
            caused(RuntimeError("DataLoader worker (pid(s) 4711) exited unexpectedly"), RuntimeError(LOADER)),
            TrainingError,
            "DataLoader worker (pid(s) 4711) exited unexpectedly: a loader's process has ended, often for want of",
        ),
        (
            RuntimeError(LOADER + "It is possible that dataloader's\nworkers are out of shared memory."),
            TrainingError,
            "DataLoader worker (pid 4711) is killed by signal: Killed: a loader's process has ended",
        ),
        (ArgumentError(None, "Key 'x'\nis unknown"), InputError, "Key 'x' is unknown"),
        (argparse.ArgumentError(None, "unrecognized arguments: --x"), InputError, "unrecognized arguments: --x"),
        (MisconfigurationException("no\nsuch accelerator"), InputError, "no such accelerator"),
        (FileNotFoundError(2, "No such file", "a.yaml"), InputError, "[Errno 2] No such file: 'a.yaml'"),
        (
            RuntimeError("The connection to W&B: api_key not configured (no-tty)"),
            type(None),
            "None",
        ),
    ],
    ids=["memory", "loader exited", "loader killed", "jsonargparse", "argparse", "lightning", "file", "unknown text"],
)
def test_what_a_user_can_do_something_about_is_one_line(error: Exception, kind: type, said: str) -> None:
    found = explained(error)
    assert type(found) is kind
    assert str(found).startswith(said)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), RuntimeError("DataLoader worker"), KeyError("killed"), RuntimeError("CUDA error")],
    ids=repr,
)
def test_a_fault_of_the_program_stays_one(error: Exception) -> None:
    assert explained(error) is None
    assert explained(caused(error, FileNotFoundError("a cause that the program should have handled"))) is None


@pytest.fixture
def of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in one of two processes."""
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)


@pytest.mark.parametrize("text", [LOST, "NCCL error: remote process exited", "Connection reset by peer", "Broken pipe"])
def test_a_lost_rank_is_one_only_where_there_are_several(text: str, request: pytest.FixtureRequest) -> None:
    assert explained(RuntimeError(text)) is None
    request.getfixturevalue("of_two")
    found = explained(RuntimeError(text))
    assert type(found) is TrainingError
    assert str(found).startswith(f"another process of this run has ended or hangs, whose message says why ({text[:20]}")
    assert explained(ValueError(text)) is None


def test_one_process_leaves_the_word_to_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    speak(InputError("x"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("local_rank", ["0", "1"])
def test_where_the_others_cannot_be_reached_each_speaks(
    local_rank: str, of_two: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone() -> Any:
        message = "the store is gone"
        raise RuntimeError(message)

    monkeypatch.setattr(distributed, "get_rank", lambda: int(local_rank))
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", gone)
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    speak(InputError("x"))
    assert capsys.readouterr().err == ("abair-pl: error: rank 1: x\n" if local_rank == "1" else "")


@pytest.mark.parametrize(("error", "status"), [(InputError("same"), 2), (TrainingError("same"), 1)], ids=repr)
def test_the_first_process_of_a_second_node_does_not_repeat_it(
    error: AbairError, status: int, of_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = distributed.HashStore()  # type: ignore[attr-defined]
    store.set("abair_pl/error", "0 same")
    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", lambda: store)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(SystemExit) as caught:
        speak(error)
    assert caught.value.code == status
    speak(PreemptedError("another"))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes says in the cases of speaking_run.py."""
    folder = tmp_path_factory.mktemp("spoken")
    for status, said in run_two("tests.speaking_run", str(folder)):
        assert status == 0, said[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


OTHER_ENDED = "abair-pl: error: another process of this run has ended or hangs, whose message says why ("


@pytest.mark.parametrize(
    ("case", "first", "second", "statuses"),
    [
        ("same", ["abair-pl: error: all of us"], [], [2, 2]),
        ("same_late", [], ["abair-pl: error: rank 1: all of us"], [2, 2]),
        ("alone", [], ["abair-pl: error: rank 1: me alone"], [0, 1]),
        ("alone_zero", ["abair-pl: error: me alone"], [], [1, 0]),
        ("different", ["abair-pl: error: rank 0's own"], ["abair-pl: error: rank 1: rank 1's own"], [2, 2]),
        ("lost", [OTHER_ENDED], ["abair-pl: error: rank 1: me alone"], [1, 1]),
    ],
)
def test_of_two_processes_the_one_that_knows_speaks(
    spoken: list[dict[str, Any]], case: str, first: list[str], second: list[str], statuses: list[int]
) -> None:
    for found, expected in zip(spoken, (first, second), strict=True):
        said = [OTHER_ENDED if line.startswith(OTHER_ENDED) else line for line in found[case]["said"]]
        assert said == expected
    assert [found[case]["status"] for found in spoken] == statuses


STUBBORN = """
import multiprocessing, signal, time
from abair_pl.training_errors import loaders_ended_with_a_failure

def sleep():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(60)

with loaders_ended_with_a_failure():
    multiprocessing.get_context("fork").Process(target=sleep, daemon=True).start()
    time.sleep(0.2)
    raise {error}
"""


@pytest.mark.parametrize("error", ["RuntimeError", "KeyboardInterrupt", "SystemExit(1)"])
def test_loaders_of_a_failed_run_end_with_it(error: str) -> None:
    """Which ignore SIGTERM, so that Python would wait for them at its end."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", STUBBORN.format(error=error)], capture_output=True, check=False)
    assert done.returncode != 0
    assert time.monotonic() - start < 40
