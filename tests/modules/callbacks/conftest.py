"""A module of toy size, and a W&B run that only keeps what it is told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import WandbLogger

from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule


@pytest.fixture
def module(nano: str, fast: OptimizationConfig, tmp_path: Path) -> PretrainModule:
    return PretrainModule(tmp_path / "bundle", nano, ["rain", "haze"], optimization=fast)


class FakeRun:
    """Takes the place of a W&B run, online or not."""

    def __init__(self, folder: Path, offline: bool) -> None:
        self.id, self.project, self.group, self.entity = "1a2b", "project", "group", "someone"
        self.offline, self.disabled = offline, False
        self.dir = str(folder / "files")
        self.rows: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.axes: dict[str, str] = {}
        self.logged: list[tuple[Any, list[str]]] = []
        self.used: list[Any] = []
        self.config = SimpleNamespace(update=lambda values, **_: self.settings.update(values))

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes[name] = step_metric

    def log_artifact(self, artifact: Any, aliases: list[str] | None = None) -> None:
        self.logged.append((artifact, aliases or []))

    def use_artifact(self, artifact: Any, type: str | None = None) -> None:  # noqa: A002 - W&B's name for it
        self.used.append(artifact)


class FakeLogger(WandbLogger):
    """A W&B logger whose run is a :class:`FakeRun`."""

    def __init__(self, folder: Path, offline: bool) -> None:
        super().__init__(save_dir=folder)
        self.run = FakeRun(folder, offline)

    @property
    def experiment(self) -> Any:
        return self.run


@pytest.fixture
def fake_logger(tmp_path: Path) -> FakeLogger:
    """Online."""
    return FakeLogger(tmp_path, offline=False)


@pytest.fixture
def offline_logger(tmp_path: Path) -> FakeLogger:
    """Offline."""
    return FakeLogger(tmp_path, offline=True)
