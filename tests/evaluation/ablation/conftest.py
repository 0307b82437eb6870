from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.ablation.fakes import FakeFits

from abair_pl.evaluation.ablation import runs
from abair_pl.evaluation.ablation.runs import Training
from abair_pl.evaluation.ablation.variants import PhaseOptions
from abair_pl.models.backbone import Backbone

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture
def fits(
    make_backbone: Callable[..., Backbone], make_adapter: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> FakeFits:
    """What takes the place of training."""
    fake = FakeFits(make_backbone, make_adapter)
    monkeypatch.setattr(runs, "fit", fake)
    return fake


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """The shipped configurations with two degradations."""
    scale = PhaseOptions(pretrain={"model.degradations": ["rain", "noise"]})
    return Training(tmp_path / "out", CONFIGS, "tiny", scale, {"data.train": "shards/train", "data.val": "shards/val"})


@pytest.fixture
def ablation_file(tmp_path: Path) -> Path:
    """Two variants that differ in phase III, measured on noise; with a scale of two steps beside it."""
    (tmp_path / "suite.yaml").write_text(
        """
title: noise
tasks:
  denoising: {title: Denoising, dataset: BSD68, layout: cbsd68, root: CBSD68, degrade: "noise:sigma=25", oracle: noise}
  dehazing: {title: Dehazing, dataset: SOTS, layout: sots_outdoor, root: SOTS}
methods:
  soft: {title: soft}
"""
    )
    (tmp_path / "scale.yaml").write_text(
        """
every:
  trainer.accelerator: cpu
  trainer.max_steps: 2
  trainer.val_check_interval: 2
  trainer.limit_val_batches: 1
  trainer.enable_model_summary: false
  trainer.num_sanity_val_steps: 0
  data.workers: 0
  data.batch_size: 2
  data.patch_px: 32
  data.val_patch_px: 32
pretrain:
  model.degradations: [noise]
"""
    )
    file = tmp_path / "clean.yaml"
    file.write_text(
        f"""
title: clean photographs in phase III
suite: suite.yaml
configs: {CONFIGS}
published: table6
variants:
  none:
    title: none
    published: + CutMix
    options:
      estimator: {{data.synthesis.clean_probability: 0.0}}
  some:
    title: some
    blend: oracle
"""
    )
    return file
