"""The app in headless Chromium: for the end-to-end test, and ``python -m tests.app.browser`` for the docs' pictures."""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from abair_pl.palette import LABEL_COLORS

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_S = 120
_ENDS_WITHIN_S = 30
_WITHIN_MS = 60_000
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_WINDOW_PX = {"width": 980, "height": 800}


def chromium() -> str | None:
    """The program, or None where it is not installed."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


class Server:
    """The app as a process of its own, see :func:`served`.

    Attributes:
        url: The page's.
        output: A file of all that it has said.
    """

    def __init__(self, url: str, process: subprocess.Popen[bytes], output: Path) -> None:
        self.url = url
        self.output = output
        self._process = process

    def end(self) -> int:
        """Tell it to end; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_ENDS_WITHIN_S)


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Server]:
    """Run ``abair-pl app`` cut off from the network.

    Args:
        folder: For what it says, and, in ``tmp/``, for its temporary files.
        options: Of the command.
    """
    output, temporary = folder / "output.txt", folder / "tmp"
    temporary.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.app.offline", "app", "--port", str(port), "--device", "cpu", *options]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)}
        )
    try:
        assert process.stdout is not None
        started = process.stdout.readline().decode()
        assert started.startswith("http://"), output.read_text()
        yield Server(started.split()[0], process, output)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class Visit:
    """A page in the browser, and what can be done on it, see :func:`visited`.

    Attributes:
        requested: The addresses that the page has asked for.
        complaints: What the browser's console has said as errors.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(_WITHIN_MS)
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.goto(url)
        page.wait_for_selector("#found textarea")

    def drop(self, path: Path) -> None:
        """Upload a file; what was uploaded before is put away."""
        clear = self.page.locator("#upload button[aria-label='Clear']")
        if clear.count():
            clear.first.click()
        self.page.set_input_files("#upload input[type=file]", str(path))

    def choose_example(self, number: int) -> None:
        """Click on an example."""
        self.page.locator("#examples .thumbnail-item").nth(number).click()

    def found(self, other_than: str) -> str:
        """What is said to be found, as soon as it is something else."""
        self.page.wait_for_function(
            "before => document.querySelector('#found textarea').value != before", arg=other_than
        )
        self.settle()
        return str(self.page.locator("#found textarea").input_value())

    def slider(self, name: str) -> float:
        """Where a slider stands."""
        return float(self.page.locator(f"#{name} input[type=number]").input_value())

    def type_value(self, name: str, value: float) -> None:
        """Type a slider's value."""
        box = self.page.locator(f"#{name} input[type=number]")
        box.fill(str(value))
        box.press("Tab")

    def drag(self, name: str, share: float) -> None:
        """Drag a slider with the mouse to a share of its length."""
        box = self.page.locator(f"#{name} input[type=range]").bounding_box()
        at = self.slider(name)
        height = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + 8 + (box["width"] - 16) * at, height)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + 8 + (box["width"] - 16) * share, height, steps=4)
        self.page.mouse.up()

    def pictures(self) -> list[str]:
        """The addresses of the pictures before and after, and of the label map; all have been loaded."""
        self.settle()
        images = self.page.locator("#compare img, #labels img")
        for index in range(images.count()):
            images.nth(index).scroll_into_view_if_needed()  # what is out of sight is not loaded
            self.page.wait_for_function(
                "image => image.complete && image.naturalWidth", arg=images.nth(index).element_handle()
            )
        return [str(images.nth(index).get_attribute("src")) for index in range(images.count())]

    def after(self, other_than: str) -> str:
        """The address of the restored picture, as soon as it is another."""
        self.page.wait_for_function(
            "before => { const shown = [...document.querySelectorAll('#compare img')];"
            " return shown.length == 2 && shown[1].getAttribute('src') != before; }",
            arg=other_than,
        )
        return self.pictures()[1]

    def settle(self) -> None:
        """Wait until nothing is being worked on."""
        self.page.wait_for_function("() => !document.querySelector('.generating, .progress-text, .eta-bar')")

    def download(self, path: Path) -> str:
        """Click on the button, and save what comes; the name that it has."""
        with self.page.expect_download() as coming:
            self.page.click("#download")
        coming.value.save_as(path)
        return str(coming.value.suggested_filename)

    def screenshot(self, path: Path) -> None:
        """A picture of the page in 256 colours, those of the label map among them."""
        self.page.mouse.move(0, 0)
        self.page.screenshot(path=str(path), full_page=True)
        with Image.open(path) as image:
            colors = image.convert("RGB")
        palette = Image.new("P", (1, 1))
        own = [255, 255, 255, *LABEL_COLORS.ravel().tolist()]
        palette.putpalette((colors.quantize(256 - len(own) // 3).getpalette() or []) + own)
        colors.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


@contextmanager
def visited(url: str) -> Iterator[Visit]:
    """Open the page in a browser that has no past."""
    from playwright.sync_api import sync_playwright  # optional

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), headless=True, args=_FLAGS)
        try:
            yield Visit(browser.new_page(viewport=_WINDOW_PX), url)
        finally:
            browser.close()


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description="Pictures of the app for the docs.")
    parser.add_argument("--bundle", type=Path, help="the bundle; the one that ships if left out")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images", help="folder for app-*.png")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    options = [] if given.bundle is None else ["--bundle", str(given.bundle)]
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), *options) as server,
        visited(server.url) as visit,
    ):
        visit.choose_example(1)
        found = visit.found("")
        visit.pictures()
        visit.screenshot(given.output / "app-estimated.png")
        visit.choose_example(2)
        visit.found(found)
        estimated = visit.pictures()[1]
        visit.type_value("of-low_light", 1.0)
        by_hand = visit.after(estimated)
        visit.type_value("strength", 0.7)
        visit.after(by_hand)
        visit.screenshot(given.output / "app-by-hand.png")
        assert server.end() == 0


if __name__ == "__main__":
    main()
