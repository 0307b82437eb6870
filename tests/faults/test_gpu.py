"""The three phases on a GPU: CUDA's random states and NCCL live through a kill, too.

To the last digit only as far as CUDA's kernels are deterministic; those of phase I's backward pass are not.
"""

import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.faults.conftest import STEPS, Phase
from tests.faults.phase_run import losses

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ON_GPU = ("--trainer.accelerator=gpu", "--trainer.devices=1", "--trainer.strategy=ddp", "--trainer.deterministic=warn")


@pytest.mark.parametrize("name", ["pretrain", "adapter", "estimator"])
def test_a_run_on_a_gpu_goes_on_where_it_was_killed(
    name: str, make_phase: Callable[..., Phase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    whole, killed = make_phase(name, tmp_path / "whole"), make_phase(name, tmp_path / "killed")
    status, said = whole.run(*ON_GPU)
    assert status == 0, said[-3000:]
    assert killed.run(*ON_GPU, moment="on_train_batch_start", step=20)[0] == -signal.SIGKILL  # no step is done twice
    assert killed.checkpoints
    status, said = killed.run(*ON_GPU, "--resume=auto")
    assert status == 0, said[-3000:]
    assert list(losses(whole.folder)) == list(range(1, STEPS + 1))
    for step, loss in losses(whole.folder).items():
        assert float.fromhex(losses(killed.folder)[step]) == pytest.approx(float.fromhex(loss), rel=1e-5), step


@pytest.mark.parametrize("execution", ["compile", "checkpointing"])
def test_bfloat16_trains_compiled_and_with_checkpoints(
    execution: str, make_phase: Callable[..., Phase], tmp_path: Path
) -> None:
    phase = make_phase("pretrain", tmp_path)
    short = ("--trainer.precision=bf16-mixed", "--trainer.max_steps=6", "--trainer.val_check_interval=6")
    status, said = phase.run(*ON_GPU[:2], *short, f"--model.execution.{execution}=true")
    assert status == 0, said[-3000:]
    assert all(math.isfinite(float.fromhex(loss)) for loss in losses(tmp_path).values())
    assert phase.weights
