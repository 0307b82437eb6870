import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abair_pl.app import command
from abair_pl.app.command import app
from abair_pl.cli import main
from abair_pl.errors import AbairError, InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; signals are as before afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "")
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 0}, "--port is 0; expected 1 to 65535"),
        ({"port": 65536}, "--port is 65536; expected 1 to 65535"),
        ({"max_upload_mb": 0.0}, "--max-upload-mb is 0; expected more than 0"),
        ({"max_megapixels": -1.0}, "--max-megapixels is -1; expected more than 0, and at most 200"),
        ({"max_megapixels": 201.0}, "--max-megapixels is 201; expected more than 0, and at most 200"),
        ({"max_upload_mb": float("nan")}, "--max-upload-mb is nan; expected more than 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        app(**options)


def test_without_gradio_one_line_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("abair-pl: error: the app needs Gradio")
    assert line.endswith("install abair-pl[app]: pip install 'abair-pl[app]'")
    assert list(folder.iterdir()) == []


def test_a_bundle_without_estimator_is_refused(folder: Path, backbone_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra [app]")
    with pytest.raises(InputError, match="estimator"):
        app(backbone_path, device="cpu")
    assert list(folder.iterdir()) == []


def test_a_port_in_use_is_told(folder: Path, bundle_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra [app]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = rf"cannot listen on 127\.0\.0\.1:{port} \(in use, .*; choose another --port or --host"
        with pytest.raises(AbairError, match=message):
            app(bundle_path, port=port, device="cpu")
    assert list(folder.iterdir()) == []


def test_server_offers_the_page_alone_and_ends_when_it_is_told(
    folder: Path, bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}

    class Page:
        """Stands for Gradio's."""

        def queue(self, **options: Any) -> "Page":
            given.update(options)
            return self

        def launch(self, **options: Any) -> None:
            given.update(options)

        def close(self, verbose: bool) -> None:
            given["closed"] = not verbose

    class Interrupted:
        """An event that never comes."""

        def wait(self) -> None:
            raise KeyboardInterrupt

    pytest.importorskip("gradio", reason="needs the extra [app]")
    monkeypatch.setattr(command, "build_page", lambda *_: Page())
    monkeypatch.setattr(threading, "Event", Interrupted)
    app(bundle_path, port=7861, device="cpu", max_upload_mb=1.5)
    assert capfd.readouterr().out == "http://127.0.0.1:7861/  (Ctrl+C ends it)\n"
    assert (given["server_name"], given["server_port"]) == ("127.0.0.1", 7861)
    assert given["max_file_size"] == 1_572_864
    assert given["closed"]
    for off in ("share", "inbrowser", "api_open", "run_history", "enable_monitoring", "mcp_server", "pwa", "ssr_mode"):
        assert given[off] is False, off
    assert given["theme"]._stylesheets == given["theme"]._font_css == []
    assert list(folder.iterdir()) == []
