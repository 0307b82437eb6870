"""``abair-pl export``: one line where something is wrong, and one that tells what was written."""

import json
from pathlib import Path

import pytest
import torch

from abair_pl.bundle import Bundle
from abair_pl.cli import main
from abair_pl.export import command
from abair_pl.export.facts import export_facts
from abair_pl.export.files import FACTS_FILE
from abair_pl.export.restorer import exported_restorer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "DIR/a.pt2"], "expected a file named .onnx for --format onnx"),
        (["--output", "DIR/a.onnx", "--format", "torch-export"], "expected a file named .pt2"),
        (["--output", "DIR/folder.onnx"], "expected a file named .onnx"),
        (["--output", "DIR/a.pt2", "--format", "torch-export", "--opset", "20"], "--opset is 20 with --format"),
        (["--output", "DIR/a.onnx", "--opset", "7"], "--opset is 7; expected 18 to 23"),
        (["--output", "DIR/a.onnx", "--bundle", "DIR/none"], "no bundle at"),
        (["--output", "DIR/a.onnx", "--weights", "fog=1"], "unknown adapter 'fog'"),
        (["--output", "DIR/a.onnx", "--format", "tflite"], "tflite"),
    ],
    ids=str,
)
def test_wrong_options_end_in_one_line(
    options: list[str], words: str, bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    given = [option.replace("DIR", str(tmp_path)) for option in options]
    bundle = [] if "--bundle" in given else ["--bundle", str(bundle_path)]
    assert main(["export", *given, *bundle]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("abair-pl: error: ")
    assert words in line
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_what_cannot_be_written_leaves_nothing_behind(
    bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "captured", lambda restorer: None)
    monkeypatch.setattr(command, "write_torch_export", full)
    options = ["--output", str(tmp_path / "a.pt2"), "--format", "torch-export"]
    assert main(["export", "--bundle", str(bundle_path), *options]) == 1
    assert "a.pt2 (No space left on device); make room" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@torch.no_grad()
def test_command_writes_a_file_that_tells_of_itself(
    bundle_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, bundle = tmp_path / "made" / "rain.pt2", Bundle.open(bundle_path)
    options = ["--output", str(file), "--format", "torch-export", "--weights", "rain=0.7,haze=0.3"]
    assert main(["export", "--bundle", str(bundle_path), *options]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines() == [
        "capturing the network, which takes a minute or more ...",
        f"{file}: nano, image; {file.stat().st_size / 1e6:.1f} MB",
    ]
    found = {FACTS_FILE: ""}
    run, restorer = torch.export.load(file, extra_files=found).module(), exported_restorer(bundle, "rain=0.7,haze=0.3")
    assert json.loads(found[FACTS_FILE]) == export_facts(bundle, restorer, "rain=0.7,haze=0.3")
    image = torch.rand(1, 3, 40, 50)
    torch.testing.assert_close(run(image), restorer(image), atol=1e-5, rtol=0)
