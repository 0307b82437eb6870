"""How tiles are chosen by memory, and what a large photograph takes, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from abair_pl.bundle import save_backbone
from abair_pl.memory import fitting_tile_px, is_out_of_memory, smaller_tile_px
from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config

LIMIT_MIB = 1500

RUN = """
import resource, sys
from abair_pl.cli import main
status = main(sys.argv[1:])
print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


CPU = torch.device("cpu")
TINY = preset_config("tiny")


@pytest.mark.parametrize(("height", "width"), [(800, 1250), (1000, 1000), (20, 20_000)])
def test_up_to_a_megapixel_is_done_at_once(height: int, width: int) -> None:
    assert fitting_tile_px((1, 3, height, width), TINY, CPU) >= max(height, width)


def test_the_larger_the_image_the_smaller_the_tiles_down_to_512() -> None:
    sides = [fitting_tile_px((1, 3, side, side), TINY, CPU) for side in (1200, 2500, 3500, 4900, 12_000)]
    assert sides == sorted(sides, reverse=True)
    assert 900 < sides[0] < 1200
    assert sides[-2:] == [512, 512]
    assert fitting_tile_px((1, 3, 800, 800), preset_config("paper"), CPU) == 512


def test_on_a_gpu_free_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    for gib in (1, 16):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=gib << 30: (free, 80 << 30))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
        sides.append(fitting_tile_px((1, 3, 6000, 6000), TINY, torch.device("cuda")))
    assert 3.5 < sides[1] / sides[0] < 4.5


def test_what_pytorch_keeps_of_a_gpu_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    for free, kept in ((8, 0), (2, 6)):  # before a photograph, and after it
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free << 30: (free, 80 << 30))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device, kept=kept << 30: kept + 10)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10)
        sides.append(fitting_tile_px((1, 3, 6000, 6000), TINY, torch.device("cuda")))
    assert sides[0] == sides[1]


def test_smaller_tiles_are_half_as_large_down_to_what_the_network_needs() -> None:
    assert smaller_tile_px(1200, 1) == 600
    assert smaller_tile_px(200, 1) == 128
    assert smaller_tile_px(128, 1) is None
    assert smaller_tile_px(512, 128) == 256
    assert smaller_tile_px(256, 128) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_want_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_real_want_of_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


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
