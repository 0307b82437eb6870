from typing import Any

import pytest
import torch
from torch import Tensor

from abair_pl.degradations.transfer import constant, moved

TENSORS = {
    "seed": torch.arange(5),
    "rows": torch.tensor([3, 1]),
    "none": torch.zeros(0, dtype=torch.int64),
    "share": torch.rand(2, 3),
    "sigma": torch.rand(4),
}


def test_on_a_cpu_tensors_are_handed_over_as_they_are() -> None:
    here = moved(TENSORS, torch.device("cpu"))
    assert here is not TENSORS
    assert all(here[name] is tensor for name, tensor in TENSORS.items())


def test_elsewhere_each_dtype_travels_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    original = Tensor.to

    def to(self: Tensor, *arguments: Any, **options: Any) -> Tensor:
        sent.append((self.dtype, options.get("non_blocking")))
        return original(self, *arguments, **options)

    monkeypatch.setattr(Tensor, "to", to)
    there = moved(TENSORS, torch.device("meta"))
    assert sorted(map(str, sent)) == ["(torch.float32, True)", "(torch.int64, True)"]
    assert {name: tensor.shape for name, tensor in there.items()} == {
        name: tensor.shape for name, tensor in TENSORS.items()
    }
    assert all(tensor.device.type == "meta" for tensor in there.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_values_arrive() -> None:
    there = moved(TENSORS, torch.device("cuda"))
    assert all(torch.equal(there[name].cpu(), tensor) for name, tensor in TENSORS.items())


def test_constants_are_made_once() -> None:
    first = constant(((1.0, 2.0), (3.0, 4.0)), torch.device("cpu"))
    assert first.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert constant(((1.0, 2.0), (3.0, 4.0)), torch.device("cpu")) is first
