import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from abair_pl.evaluation.report import pictures
from abair_pl.evaluation.report.pictures import data_uri, slides
from abair_pl.evaluation.results import Example
from abair_pl.evaluation.suite import Method, Suite, Task

SUITE = Suite("Suite", {"task": Task("T", "D", "l", "r")}, {"a": Method("first"), "b": Method("second")}, main="a")


def example(height: int, width: int, grain: float = 0.0) -> Example:
    generator = torch.Generator().manual_seed(0)
    clean = torch.linspace(0.2, 0.8, width).repeat(3, height, 1)
    degraded = (clean + grain * torch.randn(clean.shape, generator=generator)).clamp(0.0, 1.0)
    restored = degraded.clone()
    restored[:, -30:, -30:] = 1.0
    return Example("task", "photo", "best", degraded, clean, {"b": restored, "a": restored}, {"input": 20.0, "a": 21.5})


def decoded(uri: str) -> Image.Image:
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_small_images_are_whole() -> None:
    (slide,) = slides(SUITE, [example(60, 90)])
    assert (slide.width, slide.height, slide.part) == (90, 60, "")
    assert decoded(slide.before.uri).size == (90, 60)


def test_large_images_are_cut_around_the_change_pixel_for_pixel() -> None:
    made = example(600, 800)
    (slide,) = slides(SUITE, [made])
    assert (slide.width, slide.height) == (512, 512)
    assert slide.part == "512 x 512 of 800 x 600 px"
    pixels = np.asarray(decoded(slide.before.uri), dtype=float) / 255.0
    assert np.abs(pixels - made.degraded[:, -512:, -512:].permute(1, 2, 0).numpy()).max() < 0.02


def test_versions_are_the_methods_and_the_clean_image() -> None:
    (slide,) = slides(SUITE, [example(60, 90)])
    assert (slide.kind, slide.image) == ("best", "photo")
    assert (slide.before.title, slide.before.psnr) == ("input", "20.00 dB")
    assert [(version.title, version.psnr) for version in slide.after] == [
        ("first", "21.50 dB"),
        ("second", ""),
        ("clean", ""),
    ]
    assert slide.chosen == 0


def test_main_method_is_shown_first() -> None:
    (slide,) = slides(Suite(SUITE.title, SUITE.tasks, SUITE.methods), [example(60, 90)])
    assert slide.chosen == 1


def test_many_images_are_cut_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [example(520, 520, grain=0.2)]
    (large,) = slides(SUITE, made)
    monkeypatch.setattr(pictures, "_BUDGET_BYTES", len(large.before.uri))
    (smaller,) = slides(SUITE, made)
    assert 256 <= smaller.width < large.width == 512
    total = sum(len(version.uri) for version in (smaller.before, *smaller.after))
    assert total <= 4 / 3 * len(large.before.uri)


def test_no_examples_are_no_slides() -> None:
    assert slides(SUITE, []) == []


def test_data_uri_holds_the_bytes() -> None:
    assert data_uri("image/png", b"abc") == "data:image/png;base64,YWJj"
