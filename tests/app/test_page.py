import re
from typing import Any

import pytest

from abair_pl.app.desk import Desk
from abair_pl.app.examples import make_examples
from abair_pl.app.page import _legend, build_page

pytest.importorskip("gradio", reason="needs the extra [app]")


@pytest.fixture
def config(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page tells the browser."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(desk.folder))
    found: dict[str, Any] = build_page(desk, make_examples()).get_config_file()
    return found


def of_type(config: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [component["props"] for component in config["components"] if component["type"] == kind]


def test_each_adapter_has_a_slider(config: dict[str, Any], names: list[str]) -> None:
    sliders = of_type(config, "slider")
    assert [slider["label"] for slider in sliders] == [*(name.replace("_", " ") for name in names), "strength"]
    assert [slider["value"] for slider in sliders] == [0.0] * len(names) + [1.0]
    assert {(slider["minimum"], slider["maximum"]) for slider in sliders} == {(0.0, 1.0)}


def test_all_work_takes_turns(config: dict[str, Any], desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(desk.folder))
    functions = build_page(desk, []).fns.values()
    assert len(functions) == 4
    assert {(each.concurrency_id, each.concurrency_limit) for each in functions} == {("restorer", 1)}
    assert {each["api_visibility"] for each in config["dependencies"]} == {"private"}
    assert [each["trigger_mode"] for each in config["dependencies"]] == ["once", "once", "always_last", "always_last"]


def test_nothing_is_told_to_others(config: dict[str, Any]) -> None:
    assert config["analytics_enabled"] is False
    addresses = re.findall(r"https?://[\w.-]+", str([component["props"] for component in config["components"]]))
    assert addresses == []


def test_limits_are_told(config: dict[str, Any]) -> None:
    told, _ = of_type(config, "markdown")
    assert "Up to 20 MB and 12 megapixels" in told["value"]


def test_examples_are_shown(config: dict[str, Any]) -> None:
    (gallery,) = of_type(config, "gallery")
    assert [entry["caption"] for entry in gallery["value"]] == ["noise", "rain", "low light"]


def test_legend_tells_the_colours_and_obeys_nothing() -> None:
    legend = _legend(["rain", "low_light", "<script>"])
    for part in ("rgb(235,235,235)", "clean", "rgb(66,135,245)", "rain", "rgb(158,158,158)", "low light"):
        assert part in legend
    assert "<script>" not in legend
    assert "&lt;script&gt;" in legend
