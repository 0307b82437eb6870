"""What docs/hub.md says is what the package does."""

import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelHubMixin

from abair_pl import hub
from abair_pl.bundle import Bundle
from abair_pl.restore import Abair

PAGE = (Path(__file__).parents[1] / "docs" / "hub.md").read_text()


def test_example_runs(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub is a folder here."""
    remote = tmp_path / "models--OWNER--NAME" / "snapshots" / "1"

    def upload_folder(api: HfApi, *, folder_path: Path, **options: Any) -> str:
        shutil.copytree(folder_path, remote)
        return "address"

    monkeypatch.setattr(HfApi, "create_repo", lambda *given, **options: type("Address", (), options))
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(hub, "snapshot_download", lambda repo_id, **options: str(remote))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle_path, tmp_path / "runs" / "bundle")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/hub.md", "exec"), names)  # noqa: S102 - the page's own example
    assert names["again"].bundle.config == Bundle.open(bundle_path).config
    assert Bundle.open(tmp_path / "runs" / "copy").config == Bundle.open(bundle_path).config


def test_options_are_there() -> None:
    known = {
        *inspect.signature(Abair.from_pretrained).parameters,
        *inspect.signature(ModelHubMixin.push_to_hub).parameters,
    }
    named = set(re.findall(r"`(\w+)=\w*`", PAGE))
    assert len(named) == 7
    assert named <= known
