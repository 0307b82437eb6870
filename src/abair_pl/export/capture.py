"""A restorer as a graph whose batch, height and width are left open."""

import torch
from torch.export import Dim, ExportedProgram

from abair_pl.export.restorer import ExportedRestorer

IMAGE_AXES = {0: "batch", 2: "height", 3: "width"}
"""The names of what is left open."""

MAX_SIDE_PX = 32768
MAX_BATCH = 1024


@torch.no_grad()
def captured(restorer: ExportedRestorer) -> ExportedProgram:
    """Trace a restorer.

    Args:
        restorer: On the CPU.

    Returns:
        A program of ``image`` and, where there are adapters, ``weights``, for all sizes from
        :attr:`ExportedRestorer.minimum_px`.
    """
    most = {"batch": MAX_BATCH, "height": MAX_SIDE_PX, "width": MAX_SIDE_PX}
    least = {"batch": 1, "height": restorer.minimum_px, "width": restorer.minimum_px}
    axes = {dim: Dim(name, min=least[name], max=most[name]) for dim, name in IMAGE_AXES.items()}
    # Several windows a side: a single one would be traced as if there never were more.
    sides = [restorer.backbone.window_stride_px + count * restorer.multiple_px - 1 for count in (2, 3)]
    inputs, shapes = {"image": torch.rand(2, 3, *sides)}, {"image": axes}
    if restorer.names:
        inputs["weights"], shapes["weights"] = torch.rand(2, len(restorer.names)), {0: axes[0]}
    program = torch.export.export(
        restorer,
        tuple(inputs.values()),
        dynamic_shapes=shapes,
        strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    _forget_strides(program)
    return program


def _forget_strides(program: ExportedProgram) -> None:
    """Remove the assertions that sizes have the strides of the traced ones, on which no operation of the graph relies.

    Else only sizes would be taken to which padding adds something, as it did to the traced one.
    """
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_scalar.default):
        program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
