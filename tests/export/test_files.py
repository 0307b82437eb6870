"""Exported files restore as the bundle does, in the runtimes that they are for."""

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.export import ExportedProgram

from abair_pl.bundle import Bundle
from abair_pl.errors import InputError
from abair_pl.export import files
from abair_pl.export.capture import captured
from abair_pl.export.files import FACTS_FILE, check_onnx, write_onnx, write_torch_export
from abair_pl.export.restorer import exported_restorer

FACTS = {"weights": "rain,haze,noise,blur,low_light", "scale": "1"}


@pytest.fixture(scope="module")
def program(bundle: Bundle) -> ExportedProgram:
    """The complete bundle, traced."""
    return captured(exported_restorer(bundle, None))


def session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])


def in_onnxruntime(opened: onnxruntime.InferenceSession) -> Callable[[Tensor, Tensor], Tensor]:
    def run(image: Tensor, weights: Tensor) -> Tensor:
        (restored,) = opened.run(None, {"image": image.numpy(), "weights": weights.numpy()})
        return torch.from_numpy(restored)

    return run


def test_onnx_agrees_at_three_sizes_and_mixtures(
    program: ExportedProgram, differs: Callable[..., float], tmp_path: Path
) -> None:
    file = tmp_path / "bundle.onnx"
    write_onnx(program, FACTS, file, None)
    onnx.checker.check_model(file, full_check=True)
    assert list(tmp_path.iterdir()) == [file], "weights are inside"
    opened = session(file)
    assert differs(in_onnxruntime(opened)) < 1e-4
    assert opened.get_modelmeta().custom_metadata_map == FACTS
    ends = [*opened.get_inputs(), *opened.get_outputs()]
    image = ["batch", 3, "height", "width"]
    assert [(end.name, end.shape) for end in ends] == [
        ("image", image),
        ("weights", ["batch", 5]),
        ("restored", image),
    ]


def test_torch_export_agrees_at_three_sizes_and_mixtures(
    program: ExportedProgram, differs: Callable[..., float], tmp_path: Path
) -> None:
    file = tmp_path / "bundle.pt2"
    write_torch_export(program, FACTS, file)
    found = {FACTS_FILE: ""}
    opened = torch.export.load(file, extra_files=found)
    assert differs(opened.module()) < 1e-4
    assert json.loads(found[FACTS_FILE]) == FACTS


@pytest.mark.slow
def test_a_mixture_that_is_merged_in_has_one_input_and_the_opset_that_was_asked_for(
    bundle: Bundle, differs: Callable[..., float], tmp_path: Path
) -> None:
    file = tmp_path / "merged.onnx"
    write_onnx(captured(exported_restorer(bundle, "rain=1")), {"weights": ""}, file, 18)
    opened = session(file)
    assert [end.name for end in opened.get_inputs()] == ["image"]
    assert [entry.version for entry in onnx.load(file).opset_import if entry.domain == ""] == [18]
    image, weights = torch.rand(1, 3, 40, 50), torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]])
    expected = exported_restorer(bundle, None)(image, weights)
    torch.testing.assert_close(
        torch.from_numpy(opened.run(None, {"image": image.numpy()})[0]), expected, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("opset", [17, 24])
def test_opsets_out_of_range_are_refused(opset: int) -> None:
    check_onnx(None)
    check_onnx(18)
    with pytest.raises(InputError, match=f"opset is {opset}; expected 18 to 23"):
        check_onnx(opset)


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"onnxscript not installed.*pip install 'abair-pl\[export\]'"):
        check_onnx(None)
