"""Exported files in their runtimes, against the bundle in memory; on a CPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from tests.bench.blend import random_adapter
from tests.bench.timing import ROUNDS, alternate, report

from abair_pl.degradations import PAPER_FIVE
from abair_pl.export.capture import captured
from abair_pl.export.files import write_onnx, write_torch_export
from abair_pl.export.restorer import ExportedRestorer
from abair_pl.models.adapters import merge_adapters
from abair_pl.models.backbone import Backbone
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.presets import preset_config


def exported(restorer: ExportedRestorer, inputs: list[torch.Tensor], folder: Path) -> dict[str, Callable[[], object]]:
    """What runs a restorer on these inputs in each runtime."""
    program, facts = captured(restorer), {"weights": ",".join(restorer.names)}
    write_onnx(program, facts, folder / "file.onnx", None)
    write_torch_export(program, facts, folder / "file.pt2")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / "file.onnx", options, ["CPUExecutionProvider"])
    arrays = dict(zip(("image", "weights"), (value.numpy() for value in inputs), strict=False))
    loaded = torch.export.load(folder / "file.pt2").module()
    return {"onnxruntime": partial(session.run, None, arrays), "torch.export": partial(loaded, *inputs)}


@torch.no_grad()
def bench_export(preset: str, size_px: int = 256, rounds: int = ROUNDS) -> None:
    """Print the ratios for one image, with weights as an input and merged in."""
    backbone = Backbone(preset_config(preset), len(PAPER_FIVE) + 1)
    merged = Backbone(preset_config(preset), len(PAPER_FIVE) + 1)
    adapters = {name: random_adapter(backbone) for name in PAPER_FIVE}
    merge_adapters(merged, adapters, dict.fromkeys(adapters, 0.2))
    blended = BlendedBackbone(backbone, adapters).eval()
    image, weights = torch.rand(1, 3, size_px, size_px), torch.full((1, len(adapters)), 0.2)
    here = image.to(memory_format=torch.channels_last)
    candidates: dict[str, Callable[[], object]] = {"in memory": partial(blended, here, weights)}
    with TemporaryDirectory() as folder:
        found = exported(ExportedRestorer(blended), [image, weights], Path(folder))
        candidates |= {f"{name}, weights as an input": run for name, run in found.items()}
        found = exported(ExportedRestorer(merged), [image], Path(folder))
        candidates |= {f"{name}, merged in": run for name, run in found.items()}
        report(f"export, preset {preset}, 1 x {size_px}^2, cpu", alternate(candidates, rounds), 1)
