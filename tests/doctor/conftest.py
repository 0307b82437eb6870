"""A run of toy size: its configuration, what the doctor reads of it, and one dry run of it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abair_pl.doctor.dry_run import Measures, dry_run
from abair_pl.doctor.plan import Plan, read_plan

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="session")
def pretrain() -> Path:
    """The shipped configuration of phase I."""
    return CONFIGS / "pretrain.yaml"


@pytest.fixture(scope="session")
def small(sample_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that make the shipped configuration run in seconds."""
    root = tmp_path_factory.mktemp("run")
    return [
        *("model.preset=tiny", f"model.save_to={root / 'bundle'}", f"trainer.default_root_dir={root}"),
        *(f"data.train={sample_shards / 'train'}", f"data.val={sample_shards / 'val'}", "data.workers=0"),
        *("data.batch_size=2", "data.patch_px=32", "data.val_patch_px=32", "trainer.accelerator=cpu"),
        *("trainer.max_steps=20", "trainer.val_check_interval=5", f"trainer.logger.save_dir={root}"),
        "trainer.precision=32-true",
    ]


@pytest.fixture(scope="session")
def plan(pretrain: Path, small: list[str]) -> Plan:
    """The run."""
    return read_plan([pretrain], small)


@pytest.fixture(scope="session")
def measures(plan: Plan) -> Measures:
    """What its dry run took."""
    return dry_run(plan, 2)


@pytest.fixture(scope="session")
def change() -> Callable[..., Plan]:
    """Give a run other settings, by dotted names, and other devices, by keywords."""

    def changed(plan: Plan, settings: dict[str, Any] | None = None, **fields: Any) -> Plan:
        copy = deepcopy(plan.settings)
        for name, value in (settings or {}).items():
            part, _, key = name.partition(".")
            (copy[part] if part in ("trainer", "tracking") else copy[part]["init_args"])[key] = value
        return replace(plan, settings=copy, **fields)

    return changed
