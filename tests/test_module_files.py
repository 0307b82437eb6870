"""Weights whose header lies; round trips are in test_bundle.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from abair_pl.data.manifest import file_sha256
from abair_pl.errors import BundleError
from abair_pl.module_files import MAX_HEADER_BYTES, load_module, save_module


def make() -> nn.Linear:
    return nn.Linear(3, 2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_module(make(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def load(file: Path) -> nn.Linear:
    return load_module(make, file.parent, file, file_sha256(file))


def refused(file: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load(file)
    message = str(caught.value)
    assert message.startswith(f"{file} is damaged (")
    assert message.endswith("; copy or train it again")
    return message


def rewrite(file: Path, header: dict[str, Any] | str, length: int | None = None) -> None:
    """Give a file another header, of which the length may lie."""
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data[start:])


def header_of(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def test_what_was_saved_is_read(file: Path) -> None:
    assert load(file).state_dict().keys() == {"weight", "bias"}


@pytest.mark.parametrize("length", [2**64 - 1, 2**40, 10**9, MAX_HEADER_BYTES + 1])
def test_a_header_that_claims_to_be_huge_takes_no_memory(file: Path, length: int) -> None:
    rewrite(file, header_of(file), length)
    assert f"with a header of {length}, expected at most" in refused(file)


def test_a_header_that_claims_more_than_the_file_has(file: Path) -> None:
    rewrite(file, header_of(file), 10_000)
    refused(file)


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [0, 2**40]},
        {"data_offsets": [2**63, 2**63 + 8]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [0, 8]},
        {"shape": [2**40, 2**40]},
        {"shape": [-1]},
        {"dtype": "F64"},
        {"dtype": "X"},
    ],
    ids=str,
)
def test_entries_that_lie(file: Path, change: dict[str, Any]) -> None:
    header = header_of(file)
    rewrite(file, {**header, "weight": {**header["weight"], **change}})
    refused(file)


def test_entries_that_overlap(file: Path) -> None:
    header = header_of(file)
    rewrite(file, {**header, "weight": {**header["weight"], "data_offsets": [0, 24]}})
    refused(file)


def test_a_deep_header_is_no_way_to_crash(file: Path) -> None:
    rewrite(file, '{"a":' * 100_000)
    refused(file)


def test_a_shape_that_does_not_fit_is_found_before_the_values_are_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"weight": torch.zeros(4, 3), "bias": torch.zeros(2)}, file)
    monkeypatch.setattr("abair_pl.module_files.load_file", lambda *_: pytest.fail("its values were read"))
    assert "it has (4, 3) as weight, config.json expects (2, 3)" in refused(file)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite(file: Path, value: float) -> None:
    tensors = load_file(file)
    tensors["weight"][0, 0] = value
    save_file(tensors, file)
    assert "weight has values that are not finite" in refused(file)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_values_that_are_no_real_numbers(file: Path, dtype: torch.dtype) -> None:
    save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, file)
    assert "expected real numbers" in refused(file)
