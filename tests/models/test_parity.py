"""Imported checkpoints restore as the published networks do: through the file, the command line and the bundle."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.reference.promptir import PromptIR
from tests.reference.restormer import Restormer
from torch import nn

from abair_pl.bundle import Bundle
from abair_pl.cli import main
from abair_pl.models.backbone import Backbone

Pair = tuple[nn.Module, Backbone]

PUBLISHED: dict[str, tuple[str, Callable[[], nn.Module], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "restormer": ("restormer", Restormer, lambda state: {"params": state}),
    "restormer without biases": ("restormer", lambda: Restormer(centred=False), lambda state: {"params": state}),
    "promptir": (
        "promptir",
        PromptIR,
        lambda state: {"epoch": 9, "state_dict": {f"net.{name}": value for name, value in state.items()}},
    ),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, randomize: Callable[..., Any]
) -> Iterator[Pair]:
    """A reference network with random weights, and the backbone that its checkpoint became."""
    network, make, container = PUBLISHED[request.param]
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    reference: nn.Module = randomize(make()).eval()
    torch.save(container(reference.state_dict()), folder / "official.ckpt")
    command = ["bundle", "import", "--from", network, str(folder / "official.ckpt"), "--output", str(folder / "bundle")]
    assert main(command) == 0
    yield reference, Bundle.open(folder / "bundle").backbone().eval()
    shutil.rmtree(folder)  # hundreds of megabytes


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 40)])
@torch.no_grad()
def test_outputs_are_the_same(pair: Pair, height: int, width: int) -> None:
    reference, imported = pair
    image = torch.rand(2, 3, height, width)
    expected = reference(image)
    assert (expected - image).abs().amax() > 0.1  # the network does something
    assert torch.allclose(imported(image), expected, rtol=0.0, atol=1e-5)


def test_gradients_are_the_same(pair: Pair) -> None:
    gradients = []
    for network in pair:
        image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
        network(image).square().mean().backward()
        gradients.append(image.grad)
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-3 * float(gradients[0].abs().amax()))
