"""Weights in shards over the devices (FSDP2), for a ``ModelParallelStrategy``."""

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from abair_pl.errors import InputError
from abair_pl.models.layers import RestorationBlock

_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


def check_strategy(strategy: object, ema_decay: float, compare_ranks_every: int) -> None:
    """Refuse what needs whole weights on each device.

    Args:
        strategy: The trainer's.
        ema_decay: Of the moving average of the weights; 0 for none.
        compare_ranks_every: Steps between two comparisons of the weights of all ranks; 0 for none.

    Raises:
        InputError: The strategy splits weights over devices and one of the others is on.
    """
    if isinstance(strategy, ModelParallelStrategy) and (ema_decay or compare_ranks_every):
        message = (
            f"the weights are in shards, with ema_decay {ema_decay} and compare_ranks_every {compare_ranks_every}, "
            "which need them whole; expected --model.optimization.ema_decay 0 --model.guard.compare_ranks_every 0, or "
            "configs/trainer/ddp.yaml in place of fsdp.yaml"
        )
        raise InputError(message)


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Split the weights of each block, and those of everything around them, over the devices, in place.

    Args:
        module: The whole of what is trained, with its ``*_step`` methods.
        mesh: One-dimensional.
    """
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # channels last cannot be split
    for part in module.modules():
        if isinstance(part, RestorationBlock):
            fully_shard(part, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for name in _STEPS:
        register_fsdp_forward_method(module, name)


def gather(module: nn.Module) -> None:
    """Put the weights in their place whole again, on all devices, which all have to call this."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()  # the outermost is whole after a step, and would put its shards back when it is saved
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if isinstance(parameter, DTensor):
                gathered = parameter.full_tensor().detach().clone()
                part._parameters[name] = nn.Parameter(gathered, requires_grad=parameter.requires_grad)


def whole(value: Tensor) -> Tensor:
    """A value of all devices together, such as a norm of what is split; others are passed on."""
    return value.full_tensor() if isinstance(value, DTensor) else value
