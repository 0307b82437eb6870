"""Matplotlib figures that look the same whatever a user's settings, and whose files have the same bytes every time."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib import style
from matplotlib.figure import Figure

_COLORS = (  # Okabe and Ito's (2008), and three of Tol's
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#882255",
    "#999933",
    "#000000",
)
_DASHES = ("-", "--", ":", "-.")
_DPI = 150


@dataclass(frozen=True)
class Line:
    """How a method is drawn.

    Attributes:
        color: As matplotlib takes it.
        dash: As matplotlib takes it.
    """

    color: str
    dash: str = "-"


INPUT_LINE = Line("#7f7f7f", "--")


def lines(names: Iterable[str]) -> dict[str, Line]:
    """A line for each name that is told from the others, also by most who are colour-blind."""
    return {
        name: Line(_COLORS[index % len(_COLORS)], _DASHES[index // len(_COLORS) % len(_DASHES)])
        for index, name in enumerate(names)
    }


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's own settings within the block."""
    with style.context("default"), mpl.rc_context({"svg.hashsalt": "abair-pl", "font.size": 9.0}):
        yield


def encoded(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """A figure as the bytes of a file, with no date in it."""
    stream = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with plain_style():
        figure.savefig(stream, format=kind, dpi=_DPI, bbox_inches="tight", metadata=metadata)
    return stream.getvalue()
