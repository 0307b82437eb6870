"""The commands of README.md and the other pages: what stands in their fenced blocks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SITE = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
PAGES = ("README.md", "CONTRIBUTING.md", "shards/README.md", *(f"docs/{name}" for name in _SITE))
PROGRAMS = ("abair-pl", "make", "python", "pip", "sbatch", "torchrun", "wandb", "tensorboard")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELL = ("bash", "sh", "console")
_ASSIGNED = re.compile(r"^\w+=(?!\$\()('[^']*'|\S*)(\s+|$)")
_PIPED = re.compile(r"^cat \S+ \| |\s+> \S+$")
_SUBSTITUTED = re.compile(r"^\w+=\$\((.*)\)$")


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        page: The page, from the top of the repository.
        text: The command on one line, without what is assigned before it.
    """

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words that the program gets, its own name first; what a usage line has in brackets is given."""
        return shlex.split(re.sub(r"\[(--[^]]*)\]", r"\1", self.text), comments=True)

    @property
    def comment(self) -> str:
        """What the page says behind it."""
        return self.text.partition(" # ")[2]

    @property
    def program(self) -> str:
        """Its program."""
        return self.text.split()[0]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.text.partition(' # ')[0].split())}"


def commands(page: str) -> list[Command]:
    """The commands of a page, in their order."""
    return [Command(page, text) for text, _ in _lines(page) if text.split()[0] in PROGRAMS]


def other_lines(page: str) -> list[str]:
    """Lines of shell blocks that are neither commands of :data:`PROGRAMS`, nor comments, nor assignments."""
    return [text for text, is_shell in _lines(page) if is_shell and text.split()[0] not in PROGRAMS]


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in a language."""
    return [text for name, text in _BLOCK.findall((ROOT / page).read_text()) if name == language]


def _lines(page: str) -> Iterator[tuple[str, bool]]:
    """Lines of the blocks that may hold commands, continued lines as one, and whether the block is a shell's."""
    for language, block in _BLOCK.findall((ROOT / page).read_text()):
        if language and language not in _SHELL:
            continue
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if not language and line.startswith(" "):
                continue  # what a command prints
            text = line.strip()
            if (inner := _SUBSTITUTED.match(text)) is not None:
                text = inner[1]
            while (given := _ASSIGNED.match(text)) is not None:
                text = text[given.end() :]
            text = _PIPED.sub("", text)
            if text and not text.startswith("#"):
                yield text, bool(language)
