import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abair_pl.evaluation.report import write_report
from abair_pl.evaluation.results import Example, Results

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; apt-get install chromium brings it"),
]

PROBE = """
<script>
for (const slide of document.querySelectorAll(".slide")) {
  const range = slide.querySelector("input");
  range.value = "25";
  range.dispatchEvent(new Event("input"));
  slide.querySelector(".versions").lastElementChild.click();
}
const wide = [...document.querySelectorAll("body *")].filter(
  (element) => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll, .stage"));
document.body.dataset.wide = String(wide.length + (document.documentElement.scrollWidth > innerWidth ? 1 : 0));
</script>
</body>"""


@pytest.fixture(scope="module")
def page(measure: Callable[[int], tuple[Results, list[Example]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    write_report(*measure(256), folder)
    return folder / "report.html"


def chromium(page: Path, *options: str) -> str:
    assert CHROMIUM is not None
    profile = page.parent / "profile"
    shared = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
    command = [CHROMIUM, *shared, f"--user-data-dir={profile}", "--virtual-time-budget=5000", *options, page.as_uri()]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    finally:
        shutil.rmtree(profile, ignore_errors=True)


@pytest.mark.parametrize("width", [1400, 400])
def test_screenshot_shows_the_page(page: Path, tmp_path: Path, width: int) -> None:
    file = tmp_path / "page.png"
    chromium(page, f"--window-size={width},4000", f"--screenshot={file}")
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert image.size == (width, 4000)
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10_000  # the colours of photographs
    assert (pixels < 128).any(axis=(1, 2)).mean() > 0.3  # there is something in many of its lines


def test_script_runs(page: Path) -> None:
    found = chromium(page, "--dump-dom")
    assert found.count('data-ready="true"') == 12
    assert re.findall(r'data-shown="(.*?)"', found) == ["SW"] * 12
    assert found.count('aria-valuetext="50 % input"') == 12


@pytest.mark.parametrize("width", [1400, 400])
def test_sliders_and_buttons_work_and_nothing_is_wider_than_the_screen(page: Path, tmp_path: Path, width: int) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", PROBE))
    found = chromium(probed, f"--window-size={width},900", "--dump-dom")
    assert re.findall(r'data-shown="(.*?)"', found) == ["clean"] * 12
    assert found.count("--split: 25%") == 12
    assert found.count('aria-pressed="true">clean') == 12
    assert re.findall(r'data-wide="(\d+)"', found) == ["0"]
