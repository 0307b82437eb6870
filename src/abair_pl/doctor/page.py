"""What a check found: lines with marks, facts for JSON, and the page that shows all checks."""

from dataclasses import dataclass, field
from itertools import groupby
from textwrap import wrap
from typing import Any, Literal

from abair_pl.errors import AbairError

Mark = Literal["", "ok", "warning", "problem"]

_MARK = 9
_NAME = 22
_WIDTH = 118
_INDENT = "  "


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        text: What was found.
        mark: ``ok``, ``warning``, ``problem``, or nothing where a fact is neither good nor bad.
        remedy: What to do about a warning or a problem.
    """

    name: str
    text: str
    mark: Mark = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


@dataclass(frozen=True)
class Section:
    """What one check says.

    Attributes:
        title: Its heading.
        lines: For people.
        facts: For ``--json``, where the facts of all sections are keys of one object.
    """

    title: str
    lines: list[Line]
    facts: dict[str, Any] = field(default_factory=dict)

    def marked(self, mark: Mark) -> list[Line]:
        """The lines with a mark."""
        return [line for line in self.lines if line.mark == mark]


def error_line(name: str, error: AbairError) -> Line:
    """A problem, as one of the project's errors says it: what was found, and after the semicolon what to do."""
    text, _, remedy = str(error).partition("; ")
    return Line(name, text, "problem", remedy)


def facts_of(sections: list[Section]) -> dict[str, Any]:
    """One object with the facts of all sections, ``warnings`` and ``problems``, each with its remedy."""
    facts = {name: value for section in sections for name, value in section.facts.items()}
    found = {f"{mark}s": [str(line) for line in _marked(sections, mark)] for mark in ("warning", "problem")}
    return {**facts, **found}


def page(sections: list[Section]) -> str:
    """All sections as aligned text; problems and warnings are repeated at the end, with their remedies."""
    rows: list[str] = []
    for title, parts in groupby(sections, key=lambda section: section.title):
        rows += [title, *(row for part in parts for line in part.lines for row in _rows(line)), ""]
    problems, warnings = _marked(sections, "problem"), _marked(sections, "warning")
    counts = f"{counted(len(problems), 'problem')}, {counted(len(warnings), 'warning')}"
    rows.append(f"{counts}: {'this would break' if problems else 'nothing that would break'}")
    for line in [*problems, *warnings]:
        rows += _columns(f"{_INDENT}{line.mark:<{_MARK}}", f"{line.name}: {line.text}")
        if line.remedy:
            rows += _columns(f"{_INDENT}{'':<{_MARK}}-> ", line.remedy)
    return "\n".join(rows)


def _marked(sections: list[Section], mark: Mark) -> list[Line]:
    return [line for section in sections for line in section.marked(mark)]


def _rows(line: Line) -> list[str]:
    return _columns(f"{_INDENT}{line.mark:<{_MARK}}{line.name:<{_NAME}}", line.text)


def _columns(start: str, text: str) -> list[str]:
    """A text beside its start, wrapped below itself."""
    rows = wrap(text, _WIDTH - len(start), break_long_words=False, break_on_hyphens=False)
    first, *others = rows or [""]
    return [f"{start}{first}".rstrip(), *(f"{'':<{len(start)}}{row}" for row in others)]


def counted(count: int, name: str) -> str:
    """A number with its noun.

    Examples:
        >>> counted(0, "problem"), counted(1, "rank"), counted(3000, "step")
        ('no problems', '1 rank', '3,000 steps')
    """
    return f"{f'{count:,}' if count else 'no'} {name}{'' if count == 1 else 's'}"
