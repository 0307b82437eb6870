"""A training step of PromptIR's network, against the published architecture written out in plain PyTorch."""

from collections.abc import Callable

import torch
from tests.bench.timing import alternate, report, synchronized
from tests.reference.promptir import PromptIR
from torch import nn

from abair_pl.models.backbone import Backbone
from abair_pl.models.presets import preset_config
from abair_pl.models.published import published_backbone
from abair_pl.modules.execution import ExecutionConfig


def training_step(network: nn.Module, image: torch.Tensor, bf16: bool) -> Callable[[], object]:
    """Forward, L1 loss in float32, backward."""

    def step() -> None:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16):
            restored = network(image)
        (restored.float() - image).abs().mean().backward()
        network.zero_grad()

    return step


def peak_mib(step: Callable[[], object]) -> float:
    """What a step takes of a GPU's memory, weights included."""
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() / 2**20


def bench_network(device: torch.device, batch: int, size_px: int = 128) -> None:
    """Print how much faster a step is than the plain form's, and that both compute the same."""
    torch.manual_seed(0)
    reference = PromptIR().to(device)
    ours = published_backbone("promptir", reference.state_dict()).to(device)
    image = torch.rand(batch, 3, size_px, size_px, device=device)
    here = image.to(memory_format=torch.channels_last)
    with torch.no_grad():
        difference = (ours(here) - reference(image)).abs().max().item()
    candidates = {
        "published form, fp32": training_step(reference, image, bf16=False),
        "ours, fp32": training_step(ours, here, bf16=False),
        "published form, bf16": training_step(reference, image, bf16=True),
        "ours, bf16": training_step(ours, here, bf16=True),
    }
    if device.type == "cuda":
        compiled = Backbone(preset_config("promptir"), 1).to(device)
        ExecutionConfig(compile=True).apply_to(compiled)
        candidates["ours, bf16 and compiled"] = training_step(compiled, here, bf16=True)
    checkpointed = Backbone(preset_config("promptir"), 1).to(device)
    ExecutionConfig(checkpointing=True).apply_to(checkpointed)
    candidates["ours, fp32, checkpointing"] = training_step(checkpointed, here, bf16=False)
    timed = {name: synchronized(device, step) for name, step in candidates.items()}
    report(f"training step, preset promptir, {batch} x {size_px}^2, {device.type}", alternate(timed, rounds=5), batch)
    print(f"  largest difference of the results in fp32: {difference:.1e}")
    if device.type == "cuda":
        for name, step in candidates.items():
            print(f"  {name:<44}{peak_mib(step):10.0f} MiB at the peak")
