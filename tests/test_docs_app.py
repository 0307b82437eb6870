"""What docs/app.md says is what the app does."""

import inspect
import re
from pathlib import Path

from abair_pl.app.command import app
from abair_pl.app.handlers import _LEAST_SHARE, _MB, UNKNOWN, Limits
from abair_pl.app.page import KEPT_S

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "app.md").read_text()
TEXT = " ".join(PAGE.split())


def test_table_gives_the_options_and_their_defaults() -> None:
    parameters = inspect.signature(app).parameters
    rows = re.findall(r"^\| `--([a-z-]+)` \| .+ \| (.+) \|$", PAGE, re.MULTILINE)
    assert [name.replace("-", "_") for name, _ in rows] == list(parameters)
    for name, default in rows[1:]:
        value = parameters[name.replace("-", "_")].default
        assert default == (f"{value:g}" if isinstance(value, float) else str(value)), name


def test_defaults_are_those_of_the_limits() -> None:
    parameters = inspect.signature(app).parameters
    assert Limits() == Limits(parameters["max_upload_mb"].default, parameters["max_megapixels"].default)


def test_numbers_and_words_are_those_of_the_code() -> None:
    assert f"megabytes of {_MB:,} bytes" in TEXT
    assert f"shares below {_LEAST_SHARE:.0%}".replace("%", " %") in TEXT
    assert f'"{UNKNOWN.partition(";")[0]}"' in TEXT
    assert "six hours" in TEXT
    assert KEPT_S == 6 * 3600


def test_pictures_and_files_are_there() -> None:
    for name in re.findall(r"\]\((images/[^)]+|[a-z]+\.md)\)", PAGE):
        assert (ROOT / "docs" / name).exists(), name
    for name in re.findall(r"`(tests/[\w./]+)`", PAGE):
        assert (ROOT / name).exists(), name
