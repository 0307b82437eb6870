"""The app as a person uses it: a server of its own, a browser, files in and out, and no network."""

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.app.browser import chromium, served, visited
from tests.app.offline import ATTEMPT

from abair_pl.app.handlers import Limits, find, read_upload, restore_by
from abair_pl.images import to_8bit
from abair_pl.restore import Abair

pytestmark = pytest.mark.slow


def pixels(path: Path) -> NDArray[np.int64]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image).astype(np.int64)


def expected(restored: torch.Tensor) -> NDArray[np.int64]:
    return np.asarray(to_8bit(restored)).astype(np.int64)


def test_from_the_drop_to_the_download(bundle_path: Path, model: Abair, photographs: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra [app]")
    pytest.importorskip("playwright", reason="needs playwright")
    if chromium() is None:
        pytest.skip("needs Chromium")
    source, large = photographs / "photo-7.png", tmp_path / "large.png"
    text, heavy = tmp_path / "text.png", tmp_path / "heavy.png"
    Image.new("RGB", (1200, 1000), "teal").save(large)
    text.write_text("not an image")
    heavy.write_bytes(bytes(600_000))
    photograph = read_upload(source, Limits())
    finding = find(model, photograph)
    options = ("--bundle", str(bundle_path), "--max-megapixels", "1", "--max-upload-mb", "0.5")
    with served(tmp_path, *options) as server, visited(server.url) as visit:
        visit.drop(source)
        assert visit.found("") == finding.words
        for name, weight in finding.weights.items():
            assert visit.slider(f"of-{name}") == pytest.approx(weight, abs=0.0051), name
        pictures = visit.pictures()
        assert len(set(pictures)) == 3
        assert visit.download(tmp_path / "estimated.png") == "photo-7-restored.png"
        assert np.abs(pixels(tmp_path / "estimated.png") - expected(finding.restored)).max() <= 1

        visit.type_value("of-noise", 1.0)
        by_hand = visit.after(pictures[1])
        assert visit.pictures()[::2] == pictures[::2]  # the photograph and its label map have not moved
        assert visit.page.locator("#found textarea").input_value() == finding.words
        weights = {name: visit.slider(f"of-{name}") for name in model.names}
        assert weights["noise"] == 1.0
        visit.download(tmp_path / "by-hand.png")
        assert np.abs(pixels(tmp_path / "by-hand.png") - expected(restore_by(model, photograph, weights))).max() <= 1

        visit.drag("strength", 0.0)
        faded = visit.after(by_hand)
        assert visit.slider("strength") == 0.0
        visit.download(tmp_path / "faded.png")
        assert np.array_equal(pixels(tmp_path / "faded.png"), pixels(source))
        assert faded != by_hand

        visit.drop(large)
        message = "large.png: 1200 x 1000 pixels; expected at most 1 megapixels: scale it down"
        assert visit.found(finding.words) == message
        assert visit.pictures() == []
        visit.drop(text)
        assert visit.found(message).startswith("text.png: not a readable image (")
        visit.drop(heavy)
        visit.page.get_by_text("exceed the maximum allowed size").first.wait_for()

        visit.choose_example(2)
        visit.found(visit.page.locator("#found textarea").input_value())
        assert visit.slider("strength") == 1.0
        assert len(visit.pictures()) == 3
        assert visit.download(tmp_path / "example.png") == "astronaut-restored.png"

        assert {urlsplit(address).hostname for address in visit.requested} - {None, ""} == {"127.0.0.1"}
        assert server.end() == 0
    assert ATTEMPT not in server.output.read_text()
    assert "Traceback" not in server.output.read_text()
    assert list((tmp_path / "tmp").iterdir()) == []
