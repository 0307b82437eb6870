from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from abair_pl.app.desk import Desk
from abair_pl.app.examples import Example
from abair_pl.errors import ImageError
from abair_pl.restore import Abair


def pixels(path: Path) -> NDArray[np.int64]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image).astype(np.int64)


@pytest.fixture
def counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the estimator and the restorer have run."""
    calls = {"estimate": 0, "restore_tensor": 0}

    def counting(name: str) -> Callable[..., Tensor]:
        original = getattr(Abair, name)

        def count(*arguments: object) -> Tensor:
            calls[name] += 1
            return original(*arguments)

        return count

    for name in calls:
        monkeypatch.setattr(Abair, name, counting(name))
    return calls


def test_a_file_is_shown_before_and_after(desk: Desk, photograph: Path) -> None:
    opened, finding = desk.open_file(photograph)
    assert (opened.before.name, opened.after.name) == ("photo-0.png", "photo-0-restored.png")
    assert np.array_equal(pixels(opened.before), pixels(photograph))
    expected = np.asarray(desk.model.restore(Image.open(photograph)).image).astype(int)
    assert np.abs(pixels(opened.after) - expected).max() <= 1
    assert torch.equal(opened.restored, finding.restored)


def test_a_photograph_that_a_browser_cannot_show_is_shown_too(desk: Desk, photograph: Path, tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    Image.open(photograph).save(path)
    opened, _ = desk.open_file(path)
    assert opened.after.name == "scan-restored.png"
    assert np.array_equal(pixels(opened.before), pixels(photograph))


def test_estimator_runs_once_and_strength_runs_nothing(desk: Desk, photograph: Path, counted: dict[str, int]) -> None:
    opened, finding = desk.open_file(photograph)
    assert counted == {"estimate": 1, "restore_tensor": 1}
    by_hand = {**finding.weights, "rain": 1.0}
    opened = desk.reweigh(opened, by_hand, 1.0)
    assert counted == {"estimate": 1, "restore_tensor": 2}
    assert desk.reweigh(opened, dict(by_hand), 1.0) is opened
    assert counted == {"estimate": 1, "restore_tensor": 2}
    desk.fade(opened, 0.5)
    assert counted == {"estimate": 1, "restore_tensor": 2}


def test_strength_holds_while_weights_are_moved(desk: Desk, photograph: Path) -> None:
    opened, finding = desk.open_file(photograph)
    faded = desk.reweigh(opened, {**finding.weights, "haze": 1.0}, 0.0)
    assert np.array_equal(pixels(faded.after), pixels(photograph))
    assert not np.array_equal(pixels(desk.fade(faded, 1.0).after), pixels(photograph))


def test_former_results_are_removed_and_addresses_differ(desk: Desk, photograph: Path) -> None:
    first, _ = desk.open_file(photograph)
    second = desk.fade(first, 0.5)
    assert second.after != first.after
    assert second.before == first.before
    assert set(desk.folder.rglob("*.png")) == {second.before, second.after}
    assert len(list(desk.folder.iterdir())) == 2


def test_an_example_is_opened_like_a_file(desk: Desk) -> None:
    example = Example("grey", "haze", torch.full((3, 24, 16), 0.5))
    opened, finding = desk.open_example(example)
    assert opened.after.name == "grey-restored.png"
    assert pixels(opened.before).shape == (24, 16, 3)
    assert set(finding.weights) == set(desk.model.names)


def test_what_is_refused_leaves_nothing(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("not an image")
    with pytest.raises(ImageError, match=r"no\.png: not a readable image"):
        desk.open_file(tmp_path / "no.png")
    assert list(desk.folder.iterdir()) == []


def test_opened_photographs_can_be_told_apart(desk: Desk, photograph: Path) -> None:
    opened, _ = desk.open_file(photograph)
    assert hash(opened) != hash(replace(opened))
