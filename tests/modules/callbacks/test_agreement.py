"""Ranks that train other weights than rank 0."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.two_ranks import run_two
from torch import Tensor, nn

from abair_pl.errors import TrainingError
from abair_pl.modules.callbacks import RankAgreement
from abair_pl.modules.callbacks.agreement import weight_hashes


def make(dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)).to(dtype)


def changed(before: Tensor, module: nn.Module) -> list[int]:
    """The places of the hashes that are others now."""
    return (weight_hashes(module) != before).nonzero().flatten().tolist()


def test_a_parameter_has_a_hash_if_it_is_trained() -> None:
    module = make()
    assert weight_hashes(module).shape == (4,)
    assert torch.equal(weight_hashes(module), weight_hashes(make()))
    module[0].requires_grad_(False)
    assert torch.equal(weight_hashes(module), weight_hashes(make())[2:])


@pytest.mark.parametrize("bit", range(32))
def test_any_changed_bit_is_seen(bit: int) -> None:
    module = make()
    before = weight_hashes(module)
    mask = torch.tensor(1 << bit if bit < 31 else -(1 << 31), dtype=torch.int32)
    module[1].weight.data.view(torch.int32)[1, 3] ^= mask
    assert changed(before, module) == [2]
    module[1].weight.data.view(torch.int32)[1, 3] ^= mask
    assert changed(before, module) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_bit_of_half_a_float_is_seen(dtype: torch.dtype) -> None:
    module = make(dtype)
    before = weight_hashes(module)
    module[0].bias.data.view(torch.int16)[4] ^= 1
    assert changed(before, module) == [1]


def test_two_values_that_change_places_are_seen() -> None:
    module = make()
    before = weight_hashes(module)
    with torch.no_grad():
        module[0].weight[0, [0, 2]] = module[0].weight[0, [2, 0]]
    assert changed(before, module) == [0]


def test_the_two_zeros_differ() -> None:
    """They are the start of different runs, as 1 / 0.0 shows."""
    module = make()
    nn.init.zeros_(module[1].bias)
    before = weight_hashes(module)
    with torch.no_grad():
        module[1].bias[0] = -0.0
    assert torch.equal(module[1].bias, torch.zeros(2))
    assert changed(before, module) == [3]


class Ranks:
    """A strategy of three ranks, whose hashes differ from this one's by what is given.

    Args:
        differences: ``(3, 5)``, for the step and each of four parameters.
    """

    root_device = torch.device("cpu")

    def __init__(self, differences: list[list[int]]) -> None:
        self.differences = torch.tensor(differences)

    def all_gather(self, own: Tensor) -> Tensor:
        return own + self.differences


@pytest.mark.parametrize(
    ("second", "third", "said"),
    [
        ([0, 0, 0, 0, 0], [0, 0, 1, 0, 0], "rank 2 has gone apart from rank 0 at step 7, first in 0.bias;"),
        ([0, 0, 0, 5, 5], [0, 0, 0, 5, 5], "rank 1 has gone apart from rank 0 at step 7, first in 1.weight;"),
        ([0, 0, 0, 0, 5], [0, 5, 0, 0, 0], "rank 1 has gone apart from rank 0 at step 7, first in 1.bias;"),
        ([-1, 0, 0, 0, 5], [0, 0, 0, 0, 0], "rank 1 has gone apart from rank 0 at step 7, first in the step;"),
    ],
)
def test_the_first_rank_and_its_first_parameter_are_named(second: list[int], third: list[int], said: str) -> None:
    trainer: Any = SimpleNamespace(global_step=7, world_size=3, strategy=Ranks([[0] * 5, second, third]))
    module = make()
    with pytest.raises(TrainingError) as caught:
        RankAgreement(1).on_train_start(trainer, module)
    assert str(caught.value).startswith(said)
    assert "--ckpt_path" in str(caught.value)
    RankAgreement(0).on_train_start(trainer, module)
    trainer.world_size = 1
    RankAgreement(1).on_train_start(trainer, module)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """How the cases of apart_run.py end on each of two ranks."""
    folder = tmp_path_factory.mktemp("apart")
    for status, said in run_two("tests.modules.callbacks.apart_run", str(folder)):
        assert status == 0, said[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("case", "end"),
    [
        ("nothing", "trained 6 steps"),
        ("frozen", "trained 6 steps"),
        ("before", "rank 1 has gone apart from rank 0 at step 0, first in layer.bias; expected the same weights"),
        ("during", "rank 1 has gone apart from rank 0 at step 4, first in layer.bias; expected the same weights"),
        ("not compared", "trained 6 steps"),
    ],
)
def test_both_of_two_processes_end_where_one_has_another_weight(
    ends: list[dict[str, str]], case: str, end: str
) -> None:
    """At the same step, before one waits for the other; steps of accumulated batches count once."""
    assert [found[case].startswith(end) for found in ends] == [True, True], ends
