from collections.abc import Iterator

import pytest
import torch

from abair_pl.errors import InputError
from abair_pl.evaluation.benchmark.processes import Processes


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_cpu_computes_with_one_thread_for_as_long_as_it_measures(two_threads: None) -> None:
    processes = Processes("cpu", 1, 1)
    with processes.on_one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(InputError), processes.on_one_thread():
        raise InputError
    assert torch.get_num_threads() == 2


def test_one_process_gives_its_result_or_its_error() -> None:
    processes = Processes("cpu", 1, 1)
    assert (processes.rank, processes.count) == (0, 1)
    assert processes.together(lambda: 7) == 7

    def fail() -> None:
        message = "no room"
        raise InputError(message)

    with pytest.raises(InputError, match="no room"):
        processes.together(fail)


@pytest.mark.parametrize(("devices", "nodes"), [(0, 1), (-1, 1), (1, 0)])
def test_numbers_below_one_are_refused(devices: int, nodes: int) -> None:
    with pytest.raises(InputError, match="expected at least 1 of each"):
        Processes("cpu", devices, nodes)
