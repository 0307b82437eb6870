"""What docs/restore.md says is what the package does."""

import inspect
import re
from pathlib import Path
from typing import get_args

from abair_pl.data.decode import MAX_PIXELS
from abair_pl.images.writing import DEFAULT_QUALITY, MOST_PX
from abair_pl.models.weights import BLEND_MODES
from abair_pl.restore import Abair
from abair_pl.restoring.command import restore_files
from abair_pl.result import Result

PAGE = (Path(__file__).parents[1] / "docs" / "restore.md").read_text()
PARAMETERS = inspect.signature(restore_files).parameters
OPTIONS = {f"--{name.replace('_', '-')}" for name in PARAMETERS}


def row(option: str) -> str:
    """What the table of options says of one."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{option}`" in line.split("|")[1]]
    return line


def test_table_gives_every_option() -> None:
    table = PAGE.partition("| option |")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines() for name in re.findall(r"`(--[\w-]+)`", line.split("|")[1])}
    assert named == OPTIONS - {"--input", "--output"}


def test_table_gives_what_can_be_chosen() -> None:
    for option in ("device", "format"):
        for choice in get_args(PARAMETERS[option].annotation):
            assert f"`{choice}`" in row(f"--{option}")
    for mode in BLEND_MODES:
        assert f"`{mode}`" in row("--blend")
    assert f"{DEFAULT_QUALITY} if left out" in row("--quality")


def test_numbers_are_those_of_the_code() -> None:
    assert f"more than\n  {MAX_PIXELS // 10**6} megapixels" in PAGE
    for most_px in MOST_PX.values():
        assert f"up to {most_px:,} px a side" in PAGE


def test_python_has_these_names() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "strength=" in block
    assert "strength" in inspect.signature(Abair.restore).parameters
    fields = set(re.findall(r"result\.(\w+)", block))
    assert fields <= {*Result.__dataclass_fields__, "image"}
