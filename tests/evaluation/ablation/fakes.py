"""What takes the place of training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from abair_pl.bundle import Bundle, save_adapter, save_backbone, save_estimator
from abair_pl.errors import AbairError
from abair_pl.models.adapters import LoRA
from abair_pl.models.backbone import Backbone
from abair_pl.models.estimator import Estimator


class FakeFits:
    """Stands in for ``fit``: writes bundles of toy size without training, and keeps what it was asked for.

    Attributes:
        done: Of each fit its name, such as ``pretrain`` or ``rain``, and its options.
        jobs: Of each fit how many share the cores.
        fails_at: The name of the fit that fails.
    """

    def __init__(self, make_backbone: Callable[..., Backbone], make_adapter: Callable[..., Any]) -> None:
        self.done: list[tuple[str, dict[str, str]]] = []
        self.jobs: list[int] = []
        self.fails_at = ""
        self._backbone, self._adapter = make_backbone, make_adapter

    @property
    def names(self) -> list[str]:
        """The names of the fits."""
        return [name for name, _ in self.done]

    def __call__(self, config: Path, options: Sequence[str], log: Path, jobs: int = 1) -> None:
        """As ``fit``; weights follow from the seed and from how many fits there were."""
        given = dict(option.removeprefix("--").split("=", 1) for option in options)
        self.done.append((log.stem, given))
        self.jobs.append(jobs)
        if log.stem == self.fails_at:
            message = f"{log.stem} failed"
            raise AbairError(message)
        path, count = Path(given["model.save_to"]), len(self.done)
        if config.stem == "pretrain":
            names = json.loads(given.get("model.degradations", '["rain", "haze", "noise", "blur", "low_light"]'))
            save_backbone(path, self._backbone(len(names) + 1, seed=count), "nano", names, {"steps": 1})
            return
        start = Bundle.open(given["model.init_from"])
        if config.stem == "adapter":
            name, method = given["model.degradation"], LoRA(rank=2, alpha=2.0)
            model = self._adapter(start, name, method, count)
            save_adapter(path, start, name, model, method, {"steps": 2})
            return
        torch.manual_seed(count)
        estimator = Estimator(start.config.architecture.estimator_dim, len(start.config.adapters) + 1)
        save_estimator(path, start, estimator, {"steps": 3})
