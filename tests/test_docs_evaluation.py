"""What docs/evaluation.md says of protocols is what the package does."""

import re
from pathlib import Path

import pytest

from abair_pl.errors import InputError
from abair_pl.evaluation.protocols import PROTOCOLS, named_protocol
from abair_pl.metrics import PSNR_CAP_DB

PAGE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text()
PROTOCOLS_SECTION = PAGE.partition("\n## Protocols\n")[2].partition("\n## ")[0]


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the table whose heading begins so."""
    lines = PROTOCOLS_SECTION.partition(f"| {heading}")[2].splitlines()[2:]
    rows = lines[: lines.index("")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_table_lists_the_protocols() -> None:
    rows = {name.strip("`"): (channel, window) for name, channel, window, _ in table("protocol | channel")}
    assert list(rows) == list(PROTOCOLS)
    for name, cells in rows.items():
        assert cells == (PROTOCOLS[name].channel, PROTOCOLS[name].ssim_window)


def test_table_lists_the_settings_and_roundings() -> None:
    described = {name.strip("`"): text for name, text in table("setting | values")}
    roundings = re.findall(r"`(\w+)`[,:]", described["rounding"])
    for mistake, listed in (("y:?", described), ("y:rounding=?", roundings)):
        with pytest.raises(InputError) as error:
            named_protocol(mistake)
        assert set(str(error.value).partition("expected one of: ")[2].split(", ")) == set(listed)


def test_every_protocol_on_the_page_is_known() -> None:
    texts = re.findall(r"`((?:rgb|y)(?:_\w+)?(?::[^`]*)?)`", PROTOCOLS_SECTION)
    assert len(set(texts)) >= len(PROTOCOLS)
    for text in texts:
        assert named_protocol(text).name == text


def test_example_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PROTOCOLS_SECTION, re.DOTALL)
    exec(compile(code, "docs/evaluation.md", "exec"), {})  # noqa: S102 - the page's own example
    printed = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    shown = table("protocol | sigma 25")
    assert [name for name, *_ in printed] == [name for name, *_ in shown]
    for mine, page in zip(printed, shown, strict=True):
        for cell, expected in zip(mine[1:], page[1:], strict=True):
            (psnr, ssim), (page_psnr, page_ssim) = (map(float, each.split(" / ")) for each in (cell, expected))
            assert psnr == pytest.approx(page_psnr, abs=0.011)
            assert ssim == pytest.approx(page_ssim, abs=1.1e-4)


def test_page_gives_the_cap() -> None:
    assert f"PSNR counts as {PSNR_CAP_DB:g} dB" in " ".join(PROTOCOLS_SECTION.split())
