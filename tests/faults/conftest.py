"""Runs of the three phases in processes of their own, of toy size, to be killed and taken up again."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.phase_run import witness

REPOSITORY = Path(__file__).parents[2]
LEAKING = {
    "MASTER_ADDR",
    "MASTER_PORT",
    "LOCAL_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "RANK",
    "PL_GLOBAL_SEED",
    "PYTHONWARNINGS",
}
QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
DATA = {"batch_size": 4, "patch_px": 32, "val_patch_px": 32, "workers": 1, "shuffle_buffer": 5}
TRAINER = {"accelerator": "cpu", "precision": "32-true", "num_sanity_val_steps": 0, "log_every_n_steps": 1}
STEPS = 40


class Phase:
    """A phase of toy size in a folder of its own.

    Args:
        name: ``pretrain``, ``adapter`` or ``estimator``.
        folder: Where everything of it is written.
        shards: The folder of ``train`` and ``val``.
        bundle: What phases II and III start from.
        processes: How many torchrun starts.
    """

    def __init__(self, name: str, folder: Path, shards: Path, bundle: Path, processes: int = 1) -> None:
        self.folder, self.processes = folder, processes
        folder.mkdir(parents=True, exist_ok=True)
        own = {"pretrain": ["--model.preset=nano"], "adapter": ["--model.degradation=rain"]}.get(name, [])
        start = [] if name == "pretrain" else [f"--model.init_from={bundle}"]
        several = [f"--config={REPOSITORY}/configs/trainer/ddp.yaml", f"--trainer.devices={processes}"]
        self.options = [
            *("fit", f"--config={REPOSITORY}/configs/{name}.yaml", *(several if processes > 1 else []), *own, *start),
            *(f"--data.train={shards}/train", f"--data.val={shards}/val", f"--model.save_to={folder}/bundle"),
            *(f"--data.{key}={value}" for key, value in DATA.items()),
            *(f"--trainer.{key}={value}" for key, value in TRAINER.items()),
            *(f"--trainer.default_root_dir={folder}", f"--trainer.logger.save_dir={folder}", *QUIET),
            *(f"--trainer.max_steps={STEPS}", "--trainer.val_check_interval=15"),
        ]
        self.checkpoints_are: dict[str, object] = {"every_n_steps": 10}

    def start(self, *extra: str, **killed: object) -> subprocess.Popen[str]:
        """Start it; keywords say when it is to be sent a signal, see Witness."""
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}"]
        command = [*(launcher if self.processes > 1 else []), "-m", "tests.faults.phase_run", *self.options]
        environment = {name: value for name, value in os.environ.items() if name not in LEAKING}
        return subprocess.Popen(
            [sys.executable, *command, *self._callbacks(**killed), *extra],
            cwd=REPOSITORY,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _callbacks(self, **killed: object) -> list[str]:
        own = [f"--trainer.callbacks.init_args.{name}={value}" for name, value in self.checkpoints_are.items()]
        return [*own, witness(self.folder, **killed)]

    def run(self, *extra: str, **killed: object) -> tuple[int, str]:
        """Run it to its end: its exit status, and what it printed."""
        process = self.start(*extra, **killed)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    @property
    def weights(self) -> dict[str, str]:
        """The digests of all weights in the bundle that it wrote."""
        files = sorted((self.folder / "bundle").rglob("*.safetensors"))
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    @property
    def settings(self) -> str:
        """What else is in the bundle, but for the seconds that it took."""
        text = (self.folder / "bundle" / "config.json").read_text()
        return "\n".join(line for line in text.splitlines() if '"seconds": ' not in line)

    @property
    def checkpoints(self) -> list[Path]:
        """Those there are, the oldest first."""
        return sorted(self.folder.glob("checkpoints/*/run-*/step-*.ckpt"))

    def half_written(self) -> list[Path]:
        """Files that a killed process has left, and that do not say what they are by their names."""
        return [path for path in self.folder.rglob("*") if path.name.endswith(".partial") or ".replaced" in path.name]


@pytest.fixture(scope="package")
def make_phase(sample_shards: Path, bundle_path: Path) -> Callable[..., Phase]:
    """A phase of toy size by its name and folder."""

    def make(name: str, folder: Path, processes: int = 1) -> Phase:
        return Phase(name, folder, sample_shards, bundle_path, processes)

    return make


SHORT = ("--trainer.max_steps=8", "--trainer.val_check_interval=4")


@pytest.fixture(scope="package")
def short_run(make_phase: Callable[..., Phase], tmp_path_factory: pytest.TempPathFactory) -> Phase:
    """Phase III with the options SHORT, left alone; its last validation calibrates what is saved."""
    phase = make_phase("estimator", tmp_path_factory.mktemp("short"))
    status, said = phase.run(*SHORT)
    assert status == 0, said[-3000:]
    return phase
