"""``abair-pl app``: the page on a server of its own."""

import logging
import os
import signal
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from abair_pl.app.desk import Desk
from abair_pl.app.examples import make_examples
from abair_pl.app.handlers import Limits
from abair_pl.app.page import STYLE, build_page
from abair_pl.data.decode import MAX_PIXELS
from abair_pl.errors import AbairError, InputError
from abair_pl.restore import Abair

_LAST_PORT = 65535


def app(
    bundle: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    max_upload_mb: float = 20.0,
    max_megapixels: float = 12.0,
) -> None:
    """Restore photographs on a page in the browser: the estimated weights are sliders.

    Runs until it is interrupted. Nothing is sent to or fetched from other machines.

    Args:
        bundle: The bundle; the one that ships with the package if left out.
        host: Address to listen on; 0.0.0.0 lets everybody on the network use the page.
        port: Port to listen on.
        device: auto takes a GPU where there is one.
        max_upload_mb: Largest file that may be uploaded, in megabytes.
        max_megapixels: Largest photograph, in megapixels.

    Raises:
        InputError: Gradio is not installed, an option is wrong, or the bundle.
        AbairError: The address cannot be listened on.
    """
    limits = _checked(port, max_upload_mb, max_megapixels)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="abair-pl-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        gradio = _gradio()
        model = Abair.from_pretrained(bundle, device)
        model.estimator()  # without one there is nothing to show
        page = build_page(Desk(model, limits, Path(folder)), make_examples())
        try:
            _launch(page, gradio, host, port, limits)
            print(f"http://{host}:{port}/  (Ctrl+C ends it)", flush=True)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
        finally:
            page.close(verbose=False)


def _checked(port: int, max_upload_mb: float, max_megapixels: float) -> Limits:
    if not 1 <= port <= _LAST_PORT:
        message = f"--port is {port}; expected 1 to {_LAST_PORT}"
        raise InputError(message)
    if not max_upload_mb > 0.0:
        message = f"--max-upload-mb is {max_upload_mb:g}; expected more than 0"
        raise InputError(message)
    most = MAX_PIXELS / 1e6
    if not 0.0 < max_megapixels <= most:
        message = f"--max-megapixels is {max_megapixels:g}; expected more than 0, and at most {most:g}"
        raise InputError(message)
    return Limits(max_upload_mb, max_megapixels)


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        message = f"the app needs Gradio ({error}); install abair-pl[app]: pip install 'abair-pl[app]'"
        raise InputError(message) from error
    return gradio


def _launch(page: Any, gradio: Any, host: str, port: int, limits: Limits) -> None:
    """Serve the page, with fonts of the browser's own system, and none of what Gradio offers beside the page."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is wrong is told below
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    try:
        page.queue(api_open=False).launch(
            server_name=host,
            server_port=port,
            theme=theme,
            css=STYLE,
            max_file_size=limits.upload_bytes,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            inbrowser=False,
            show_error=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
        )
    except OSError as error:
        message = f"cannot listen on {host}:{port} (in use, or not of this machine); choose another --port or --host"
        raise AbairError(message) from error
