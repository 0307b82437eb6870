"""What a configuration of ``fit`` asks of the machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from abair_pl.data.batch_split import BatchSplit, split_batch
from abair_pl.errors import InputError

_GPUS = ("gpu", "cuda")


@dataclass(frozen=True)
class Plan:
    """A run as its configuration has it.

    Attributes:
        settings: All settings of ``fit``, the defaults among them.
        accelerator: What it trains on: ``cpu``, ``cuda``, or as the trainer's setting calls another one.
        devices: Processes on each node.
        nodes: Number of nodes.
    """

    settings: dict[str, Any]
    accelerator: str
    devices: int
    nodes: int

    @property
    def trainer(self) -> dict[str, Any]:
        """The trainer's settings."""
        return dict(self.settings["trainer"])

    @property
    def data(self) -> dict[str, Any]:
        """Those of the data module."""
        return dict(self.settings["data"]["init_args"])

    @property
    def model(self) -> dict[str, Any]:
        """Those of the phase."""
        return dict(self.settings["model"]["init_args"])

    @property
    def ranks(self) -> int:
        """Processes on all nodes."""
        return self.devices * self.nodes

    @property
    def readers(self) -> int:
        """Processes of one rank that read shards."""
        return max(int(self.data["workers"]), 1)

    @property
    def precision(self) -> str:
        """The trainer's precision, such as ``bf16-mixed``."""
        return str(self.trainer["precision"] or "32-true")

    @property
    def strategy(self) -> str:
        """Name of the trainer's strategy, in lower case."""
        strategy = self.trainer["strategy"]
        return str(strategy["class_path"] if isinstance(strategy, dict) else strategy).rpartition(".")[2].lower()

    @property
    def root(self) -> str:
        """Where the run writes its checkpoints and logs: a folder, or an address."""
        return str(self.trainer["default_root_dir"] or ".")

    @property
    def max_steps(self) -> int:
        """Optimizer steps; below 1 where the run has no last one."""
        return int(self.trainer["max_steps"] or -1)

    @property
    def accumulation(self) -> int:
        """Batches that the trainer is told to accumulate; with 1 it follows from the batch of a device."""
        return int(self.trainer["accumulate_grad_batches"])

    def split(self) -> BatchSplit:
        """How the batch is split over the devices.

        Raises:
            InputError: It does not divide.
        """
        data = self.data
        return split_batch(data["batch_size"], self.ranks, data["device_batch_size"], self.accumulation)

    def callback(self, name: str) -> dict[str, Any] | None:
        """The settings of the first callback of a class of this name; None where there is none."""
        for callback in self.trainer["callbacks"] or []:
            if str(callback["class_path"]).rpartition(".")[2] == name:
                return dict(callback.get("init_args") or {})
        return None


def read_plan(configs: Sequence[Path], changes: Sequence[str]) -> Plan:
    """Read configurations as ``fit`` does, without making anything of them.

    Args:
        configs: The files, in order.
        changes: ``NAME=VALUE``, as ``fit`` has them with two dashes before.

    Raises:
        InputError: A file or a change is wrong.
    """
    from abair_pl.fit_process import printed_settings

    for change in changes:
        name, equals, _ = change.partition("=")
        if not equals or not name or name.startswith("-"):
            message = f"--override {change}; expected NAME=VALUE, such as data.batch_size=8"
            raise InputError(message)
    options = [word for config in configs for word in ("--config", str(config))]
    settings = printed_settings([*options, *(f"--{change}" for change in changes)])
    for part in ("model", "data"):
        if not isinstance(settings.get(part), dict) or "init_args" not in settings[part]:
            message = f"the configuration has no {part}; expected a phase's, such as --config configs/pretrain.yaml"
            raise InputError(message)
    trainer = settings["trainer"]
    accelerator = _accelerator(str(trainer["accelerator"]))
    return Plan(settings, accelerator, _devices(trainer["devices"], accelerator), int(trainer["num_nodes"]))


def _accelerator(name: str) -> str:
    if name in _GPUS:
        return "cuda"
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _devices(value: Any, accelerator: str) -> int:
    """Devices of a node, by a setting as Lightning takes it: ``auto``, a number, -1 for all, or a list of them."""
    everything = max(torch.cuda.device_count(), 1) if accelerator == "cuda" else 1
    if isinstance(value, list):
        return len(value)
    text = str(value)
    if "," in text:
        return len([part for part in text.split(",") if part.strip()])
    if text in ("auto", "-1", "None"):
        return everything
    try:
        return int(text)
    except ValueError as error:
        message = f"trainer.devices is {text}; expected auto, a number, or a list of numbers"
        raise InputError(message) from error
