import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.reference.restormer import Restormer
from torch import Tensor

from abair_pl.bundle import Bundle, save_adapter, save_backbone
from abair_pl.bundle_commands.importing import import_bundle, read_checkpoint
from abair_pl.cli import main
from abair_pl.data.manifest import file_sha256
from abair_pl.errors import InputError
from abair_pl.models.adapters import LoRA
from abair_pl.models.backbone import Backbone

STATE = {"output.weight": torch.rand(3, 4), "net.output": torch.rand(2), "module.output": torch.rand(1)}
LIGHTNING = {f"net.{name}": value for name, value in STATE.items()}
PARALLEL = {f"module.{name}": value for name, value in STATE.items()}
CONTAINERS: dict[str, dict[str, Any]] = {
    "bare": STATE,
    "Restormer": {"params": STATE},
    "BasicSR": {"params": {"older": torch.zeros(1)}, "params_ema": STATE},
    "Lightning": {"epoch": 3, "state_dict": LIGHTNING, "optimizer_states": [{"state": {}}]},
    "parallel": {"state_dict": PARALLEL},
    "parallel in Lightning": {"state_dict": {f"net.module.{name}": value for name, value in STATE.items()}},
    "Lightning in parallel": {f"module.{name}": value for name, value in LIGHTNING.items()},
}


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def imports(checkpoint: Path, output: Path) -> int:
    return main(["bundle", "import", "--from", "restormer", str(checkpoint), "--output", str(output)])


def refused(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that says why a checkpoint cannot be imported."""
    output = checkpoint.parent / "bundle"
    assert imports(checkpoint, output) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert not output.exists()
    return line


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_containers(container: dict[str, Any], tmp_path: Path) -> None:
    torch.save(container, tmp_path / "checkpoint.pth")
    assert same(read_checkpoint(tmp_path / "checkpoint.pth"), STATE)


def test_safetensors(tmp_path: Path) -> None:
    save_file(LIGHTNING, tmp_path / "checkpoint.safetensors")
    assert same(read_checkpoint(tmp_path / "checkpoint.safetensors"), STATE)


def test_bundle_says_where_it_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = tmp_path / "deraining.pth"
    # A value each, stored once: a small file.
    shapes = enumerate(Restormer().state_dict().items())
    state = {name: torch.tensor(index / 1000).expand(value.shape) for index, (name, value) in shapes}
    torch.save({"params": state}, checkpoint)
    import_bundle(checkpoint, from_="restormer", output=tmp_path / "bundle")
    assert "26.13 M" in capsys.readouterr().out
    bundle = Bundle.open(tmp_path / "bundle")
    digest = file_sha256(checkpoint)
    assert bundle.config.preset == "restormer"
    assert bundle.config.degradations == []
    assert bundle.config.provenance["pretrain"] == {
        "imported_from": "restormer",
        "file": "deraining.pth",
        "file_sha256": digest,
    }
    kept = sorted(value.flatten()[0].item() for value in bundle.backbone().state_dict().values())
    assert kept == sorted(value.flatten()[0].item() for value in state.values())
    (bundle.path / "backbone.safetensors").unlink()  # a hundred megabytes


def test_bundle_without_degradations_takes_adapters(
    make_backbone: Callable[..., Backbone], make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    backbone = make_backbone(1, head_dim=0)
    base = save_backbone(tmp_path / "base", backbone, "nano", [], {})
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(base.backbone()(image), backbone(image))
    assert base.adapters() == {}
    made = save_adapter(tmp_path / "made", base, "rain", make_adapter(base, "rain"), LoRA(), {})
    assert list(made.config.adapters) == ["rain"]
    assert made.blended().names == ["rain"]


def test_file_that_needs_unpickling_is_refused_and_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    marker = tmp_path / "marker"
    torch.save({"params": STATE, "epoch": Harmful(marker)}, tmp_path / "harmful.pth")
    torch.load(tmp_path / "harmful.pth", weights_only=False)
    marker.rmdir()  # it is harmful
    line = refused(tmp_path / "harmful.pth", capfd)
    assert not marker.exists()
    assert "harmful.pth holds more than weights" in line
    assert f"{os.mkdir.__module__}.mkdir" in line
    assert "weights_only" not in line


def test_whole_module_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    assert "torch.nn.modules.linear.Linear" in refused(tmp_path / "module.pth", capfd)


@pytest.mark.parametrize("name", ["checkpoint.pth", "checkpoint.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\0" * 3000, bytes(range(256)) * 10])
def test_foreign_file(name: str, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(content)
    assert f"{name} is damaged or no checkpoint" in refused(tmp_path / name, capfd)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_file(zipped: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"params": {"output.weight": torch.rand(9000)}}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:20000])
    assert "checkpoint.pth is damaged or no checkpoint" in refused(path, capfd)


@pytest.mark.parametrize("held", [{}, {"params": {}}, [STATE], torch.zeros(3), {"epoch": 3}, {"params": {"a": 1.0}}])
def test_file_without_state_dict(held: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save(held, tmp_path / "checkpoint.pth")
    assert "checkpoint.pth holds no state dict" in refused(tmp_path / "checkpoint.pth", capfd)


def test_tensors_that_do_not_fit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save({"params": STATE}, tmp_path / "checkpoint.pth")
    assert "does not fit restormer" in refused(tmp_path / "checkpoint.pth", capfd)


@pytest.mark.parametrize(
    ("tensor", "what"),
    [
        (torch.eye(3).to_sparse(), "is sparse"),
        (torch.empty(3, device="meta"), "has no values"),
        (torch.zeros(3, dtype=torch.complex64), "holds complex64"),
        (torch.zeros(3, dtype=torch.bool), "holds bool"),
        (torch.zeros(3, dtype=torch.int64), "holds int64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_that_hold_no_plain_numbers(
    tensor: Tensor, what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.save({"params": {**STATE, "odd": tensor}}, tmp_path / "checkpoint.pth")
    assert f"odd {what}; expected dense tensors of real numbers" in refused(tmp_path / "checkpoint.pth", capfd)


@pytest.mark.parametrize("error", [struct.error, AssertionError, RecursionError, OverflowError, MemoryError])
def test_whatever_a_reader_raises_is_one_line(
    error: type[Exception], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    (tmp_path / "checkpoint.pth").write_bytes(b"anything")
    monkeypatch.setattr(torch, "load", fail)
    assert "checkpoint.pth is damaged or no checkpoint" in refused(tmp_path / "checkpoint.pth", capfd)


@pytest.mark.parametrize("content", [b"\x80\x02G\x00", b"\x80\x02J\x00", b"\x80\x02X\xff"])
def test_pickles_that_end_in_a_number(content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.pth").write_bytes(content)
    assert "checkpoint.pth is damaged or no checkpoint" in refused(tmp_path / "checkpoint.pth", capfd)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no .*none\.pth"):
        read_checkpoint(tmp_path / "none.pth")


def test_commands_of_the_page_are_understood(capfd: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "known-weights.md").read_text()
    commands = [line.split()[1:] for line in page.splitlines() if line.startswith("abair-pl bundle ")]
    assert len(commands) == 2
    for command in commands:
        assert main(command) == 2
        assert "expected a checkpoint: docs/known-weights.md" in capfd.readouterr().err


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Torch would unpack a gigabyte of zeros from a megabyte."""
    torch.save({"params": {"output.weight": torch.zeros(1 << 20)}}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain:
        members = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(tmp_path / "checkpoint.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    assert (tmp_path / "checkpoint.pth").stat().st_size < 1 << 15
    assert "checkpoint.pth is damaged or no checkpoint" in refused(tmp_path / "checkpoint.pth", capfd)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "checkpoint.pth").open("wb") as stream:
        stream.truncate(1 << 40)  # a hole: it takes no room
    assert f"checkpoint.pth has {1 << 40} bytes; expected at most" in refused(tmp_path / "checkpoint.pth", capfd)


def test_a_pipe_is_not_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "checkpoint.pth")
    assert "there is no" in refused(tmp_path / "checkpoint.pth", capfd)
