"""What a large photograph takes, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from abair_pl.bundle import save_backbone
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config

LIMIT_MIB = 1500

RUN = """
import resource, sys
from abair_pl.cli import main
status = main(sys.argv[1:])
print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts kibibytes as Linux does")
def test_24_megapixels_take_less_than_1500_mib(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = Backbone(preset_config("tiny"), 6)
    nn.init.normal_(backbone.output.weight, std=0.01)
    save_backbone(tmp_path / "bundle", backbone, "tiny", ["rain", "haze", "noise", "blur", "low_light"], {})
    rows = np.linspace(0, 255, 4000)[:, None, None]
    pixels = np.broadcast_to(rows, (4000, 6000, 3)) * np.linspace(0.5, 1.0, 6000)[None, :, None]
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photo.png")
    options = ["--bundle", str(tmp_path / "bundle"), "--blend", "none", "--device", "cpu"]
    command = [sys.executable, "-c", RUN, "restore", str(tmp_path / "photo.png"), "--output", str(tmp_path / "out")]
    printed = subprocess.run([*command, *options], check=True, capture_output=True, text=True).stdout
    status, peak_mib = map(int, printed.split()[-2:])
    assert status == 0
    assert peak_mib < LIMIT_MIB
    assert Image.open(tmp_path / "out" / "photo.png").size == (6000, 4000)
